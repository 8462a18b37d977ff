"""The boundary of the command line: arguments are checked before a command runs, and mistakes are one line each."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from thinwire.errors import UsageError, shown
from thinwire.output_path import check_output_file, check_output_folder, mode_at
from thinwire.schema import nearest

_ParserError: Any = next(one for one in typer.BadParameter.__mro__ if one.__name__ == "ClickException")
"""Base of what typer's parser raises; typer has it from click or from its own copy of it, depending on its version."""


class Commands(TyperGroup):
    """The commands; mistakes that the parser finds are errors like all others."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        try:
            code = super().main(*arguments, **{**options, "standalone_mode": False})
        except _ParserError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
                sys.exit(error.exit_code)
            raise UsageError(_parser_complaint(error)) from None
        sys.exit(code if isinstance(code, int) else 0)


def make_help_plain() -> None:
    """Have the help of commands printed without escape codes, which typer's own reading of ``NO_COLOR`` leaves in."""
    from typer import rich_utils

    rich_utils.COLOR_SYSTEM = None


_GIVEN = "thinwire.given"


def _parser_complaint(error: Any) -> str:
    """Write what typer's parser found wrong in one line, with the value."""
    message = " ".join(error.format_message().split()).rstrip(".")
    message = re.sub(r"\. Did you mean (.+)\?$", r" (did you mean \1?)", message)
    message = re.sub(r"\(Possible options: (.+)\)$", r"(did you mean \1?)", message)
    message = message.partition(", unable to")[0]  # parse what, which the value shows
    message = message[:1].lower() + message[1:]
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    given = context.meta.get(_GIVEN, {}) if context else {}
    if parameter is not None and given.get(parameter.name) is not None:
        message += f", got {shown(given[parameter.name])}"
    command = f"thinwire {context.info_name}" if context and context.parent else "thinwire"
    return f"{message}; `{command} --help` lists what there is"


class Command(TyperCommand):
    """A command that refuses empty values, and options that are given twice although one value counts."""

    def make_parser(self, ctx: Any) -> Any:
        parser = super().make_parser(ctx)
        parse = parser.parse_args

        def checked(args: list[str]) -> Any:
            try:
                values, rest, given = parse(args)
            except _ParserError as error:
                error.ctx = error.ctx or ctx  # some errors of options do not name their command
                raise
            _check_given(values, given)
            ctx.meta[_GIVEN] = values
            return values, rest, given

        parser.parse_args = checked  # type: ignore[method-assign]
        return parser


def _check_given(values: dict[str, Any], given: Sequence[Any]) -> None:
    seen: set[str] = set()
    for parameter in given:
        name = parameter.name or ""
        is_option = parameter.param_type_name == "option"
        words = max(parameter.opts, key=len) if is_option else name.upper()
        if is_option and name in seen and not parameter.multiple:
            raise UsageError(f"{words} is given twice; give it once")
        seen.add(name)
        value = values.get(name)
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, str) and (not one.strip() or "\0" in one):
                raise UsageError(f"{words} is {'empty' if not one.strip() else shown(one)}; give a value")


_MOST_NEIGHBOURS = 1000
"""Names in a folder that are compared with one that does not exist; comparing takes time."""

Check = Callable[[Any], Any]
"""Of a path or a list of paths; returns what it got."""


def _for_each(check: Callable[[Path], object]) -> Check:
    def checked(value: Any) -> Any:
        for path in value if isinstance(value, list | tuple) else [value]:
            if path is not None:
                check(path)
        return value

    return checked


def existing_folder(what: str) -> Check:
    """Make a check that refuses a path that is not an existing folder."""

    def check(path: Path) -> None:
        mode = mode_at(path, what)
        if mode is None:
            raise UsageError(f"no folder {path}{_near(path)}; expected the {what}")
        if not stat.S_ISDIR(mode):
            raise UsageError(f"{path} is no folder; expected the {what}")

    return _for_each(check)


def _near(path: Path) -> str:
    """Suggest what lies beside a path that does not exist, if it has a similar name."""
    try:
        with os.scandir(path.parent) as found:
            names = [
                one.name for one in islice(found, _MOST_NEIGHBOURS) if one.name.isprintable() and one.name != path.name
            ]
    except OSError:
        return ""
    return nearest(str(path), [str(path.parent / name) for name in names])


def existing(what: str) -> Check:
    """Make a check that refuses a path that is neither an existing folder nor an ordinary file."""

    def check(path: Path) -> None:
        mode = mode_at(path, what)
        if mode is None:
            raise UsageError(f"no {path}{_near(path)}; expected the {what}")
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise UsageError(f"{path} is neither a folder nor a file; expected the {what}")

    return _for_each(check)


def output_file(what: str) -> Check:
    """Make a check that refuses a path that no file can be written to."""
    return _for_each(lambda path: check_output_file(path, what))


def output_folder(what: str) -> Check:
    """Make a check that refuses a path that is no folder and cannot become one."""
    return _for_each(lambda path: check_output_folder(path, what))
