"""Writing files whole or not at all."""

import os
import tempfile
from pathlib import Path

from .errors import InputError


def read_text_file(path: str | Path, what: str) -> str:
    """The text in a file; `what` names it in the error."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"Could not read {what} {str(path)!r}: {error}.", "unreadable-file"
        ) from error


def write_atomically(path: str | Path, content: str | bytes, *, is_durable: bool = True) -> Path:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    The content goes to a new file in the same folder, which then takes the name. With `is_durable`,
    wait until the disk has it, so that it outlives a power cut: some milliseconds, too long for
    thousands of files that can be made again.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                if is_durable:
                    os.fsync(file.fileno())
            os.chmod(part, 0o644)
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"Could not write {str(path)!r}: {error.strerror}. Choose a folder that can be written "
            "to and has space left.",
            "cannot-write",
        ) from error
    return path
