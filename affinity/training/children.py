"""Child processes that end when this process ends, even if it is killed."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1  # Linux: the signal that a process gets when its parent ends

LAUNCHER = (
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux':\n"
    f"    ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGKILL)})\n"
    "if os.getppid() != int(sys.argv[1]):\n"
    "    sys.exit('the parent process ended')\n"
    "os.execvp(sys.argv[2], sys.argv[2:])",
)
"""Put before a command and the parent's process number: the command ends with the parent."""

_GRACE = 5.0  # seconds between the request to end and the end by force


def prepare_worker() -> None:
    """In a worker process: end when the parent ends, and let the parent handle Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process that was started in a new session, and all its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
