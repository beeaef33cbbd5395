"""Defaults from a file: the YAML file of `--config`, or the settings that a run was made with."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_type_hints

from cyclopts import App, Argument, ArgumentCollection, Token

from affinity.errors import InputError
from affinity.files import read_text_file

from .early_checks import check_run
from .options import FileOptions, StageOptions, inherited_settings


def add_defaults(_: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Set the options that were not given as flags, before the parser reads them."""
    del commands
    options = _options_class(arguments)
    if options is None:
        return
    by_name = {argument.field_info.name: argument for argument in arguments}
    if issubclass(options, FileOptions) and by_name["config"].tokens:
        path = Path(by_name["config"].tokens[0].value)
        for key, value in _read_config(path).items():
            argument = _named(key, arguments, path)
            _set(argument, _convert(key, value, options, argument, path), path)
    if issubclass(options, StageOptions) and by_name["run"].tokens:
        path = Path(by_name["run"].tokens[0].value)
        check_run(path)
        from .run_directory import RunDirectory

        if path.is_file() and "out" in by_name:
            return  # a trace, which has no settings
        directory = RunDirectory(path)
        settings = directory.record.settings
        for name in inherited_settings(options):
            _set(by_name[name], getattr(settings, name), directory.path)


def _options_class(arguments: ArgumentCollection) -> type | None:
    for argument in arguments:
        if isinstance(argument.hint, type) and argument.children:
            return argument.hint
    return None


def _set(argument: Argument, value: object, path: Path) -> None:
    if not argument.tokens and value is not None:
        argument.append(
            Token(keyword=argument.field_info.name, source=str(path), implicit_value=value)
        )


def _read_config(path: Path) -> Mapping[str, object]:
    import yaml

    try:
        body: object = yaml.safe_load(read_text_file(path, "the config"))
    except yaml.YAMLError as error:
        raise InputError(
            f"Expected YAML in the config {str(path)!r}: {error}", "invalid-config"
        ) from error
    if not isinstance(body, dict):
        raise InputError(
            f"Expected options by name in the config {str(path)!r}, such as 'budget: 3'.",
            "invalid-config",
        )
    return {str(key): value for key, value in cast("dict[object, object]", body).items()}


def _named(key: str, arguments: ArgumentCollection, path: Path) -> Argument:
    """The option whose flag, without dashes, is this key."""
    names: dict[str, Argument] = {}
    for argument in arguments:
        if argument.parse and not argument.children:
            for name in (*argument.names, argument.field_info.name):
                names[name.removeprefix("--").replace("-", "_")] = argument
    if (argument := names.get(key.replace("-", "_"))) is not None:
        return argument
    near = difflib.get_close_matches(key.replace("-", "_"), names, n=1)
    raise InputError(
        f"Unknown option {key!r} in the config {str(path)!r}"
        + (f"; did you mean {near[0]!r}?" if near else f". Expected one of {sorted(names)}."),
        "unknown-option",
    )


def _convert(key: str, value: object, options: type, argument: Argument, path: Path) -> object:
    import msgspec

    hint = get_type_hints(options)[argument.field_info.name]
    if hint == tuple[str, ...] and isinstance(value, str):
        value = [part.strip() for part in value.split(",")]

    def decode(expected: type, text: object) -> object:
        if expected is Path and isinstance(text, str):
            return Path(text)
        raise msgspec.ValidationError(f"Expected {expected.__name__}, got {text!r}")

    try:
        if isinstance(value, str) and argument.parameter.metavar == "DURATION":
            return argument.parameter.converter(hint, [Token(value=value)])  # pyright: ignore
        return msgspec.convert(value, hint, dec_hook=decode)
    except (msgspec.ValidationError, ValueError) as error:
        raise InputError(
            f"Invalid value {value!r} of {key!r} in the config {str(path)!r}: {error}.",
            "invalid-option",
        ) from error
