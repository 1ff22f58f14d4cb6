"""Flags: declared once, read from the command line or the environment, typed where they are used.

A command declares `Flag` values and reads them back as `values[HTTP_PORT]`, which has the type the flag's parser gives.
Each flag `--http-port` can also come from the variable `INGRESSD_HTTP_PORT`; the command line wins, and a variable that
is empty counts as not set. argparse cuts the command line and prints the help; everything else is here, so that a bad
value names where it came from whichever way it came.
"""

import argparse
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar, cast

T = TypeVar("T")

ENVIRONMENT_PREFIX = "INGRESSD_"


class UsageError(Exception):
    """The command line or the environment asks for something that cannot be. The text is for the user, one line."""


@dataclass(frozen=True, slots=True)
class Flag(Generic[T]):
    """`--name`. `parse` turns one text into the value and raises ValueError with a sentence that says what to write.

    `combine`, if set, makes the flag repeatable: values of later occurrences are combined with the earlier ones, and
    the variable is a comma-separated list. Otherwise the last occurrence counts. A `switch` may stand without a value
    and then means `true`. `default_text` is how the help shows the default; empty: not shown.
    """

    name: str
    parse: Callable[[str], T]
    default: T
    help: str
    metavar: str = "TEXT"
    default_text: str = ""
    combine: Callable[[T, T], T] | None = None
    switch: bool = False

    @property
    def option(self) -> str:
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper().replace("-", "_")


Sections = Mapping[str, Sequence[Flag[Any]]]
"""Flags of a command under the headings its help shows them with."""


class Values:
    """What the flags of a command came to."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def __getitem__(self, flag: Flag[T]) -> T:
        return cast(T, self._values[flag.name])


class _Parser(argparse.ArgumentParser):
    """argparse that raises where the original prints its usage and exits."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def read(
    command: str, summary: str, sections: Sections, arguments: Sequence[str], environment: Mapping[str, str]
) -> Values:
    """The values of `sections`' flags, from `arguments` (those after the command's name) and `environment`.

    `--help` prints the help and exits with 0. Raises UsageError.
    """
    flags = [flag for section in sections.values() for flag in section]
    texts = _cut(_parser(command, summary, sections), flags, arguments)
    return Values({flag.name: _value(flag, texts.get(flag.name), environment) for flag in flags})


def _parser(command: str, summary: str, sections: Sections) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"ingressd {command}",
        usage=f"ingressd {command} [FLAGS]",
        description=summary,
        epilog=f"Each flag can also come from the environment: --some-flag from {ENVIRONMENT_PREFIX}SOME_FLAG, lists "
        "comma separated, booleans as true or false. The command line wins.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    for title, section in sections.items():
        group = parser.add_argument_group(title)
        for flag in section:
            shown = f"{flag.help} (default: {flag.default_text})" if flag.default_text else flag.help
            alone: dict[str, Any] = {"nargs": "?", "const": "true"} if flag.switch else {}
            group.add_argument(
                flag.option,
                dest=flag.name,
                action="append",
                metavar=flag.metavar,
                help=shown.replace("%", "%%"),
                **alone,
            )
    return parser


def _cut(
    parser: argparse.ArgumentParser, flags: Sequence[Flag[Any]], arguments: Sequence[str]
) -> Mapping[str, list[str] | None]:
    """The texts given for each flag, in their order."""
    try:
        found, unknown = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise UsageError(f"{error.argument_name}: {error.message}") from error
    if unknown:
        raise UsageError(_unknown(unknown[0], [flag.option for flag in flags]))
    return cast("Mapping[str, list[str] | None]", vars(found))


def _unknown(argument: str, options: Sequence[str]) -> str:
    if not argument.startswith("-"):
        return f"unexpected argument {argument!r}: values are given with flags, as in --manifests DIR"
    option = argument.partition("=")[0]
    near = difflib.get_close_matches(option, options, n=1)
    return f"unknown flag {option}; " + (f"did you mean {near[0]}?" if near else "--help lists the flags")


def _value(flag: Flag[T], texts: list[str] | None, environment: Mapping[str, str]) -> T:
    if texts is not None:
        return _parsed(flag, texts, flag.option)
    if text := environment.get(flag.variable, ""):
        return _parsed(flag, text.split(",") if flag.combine else [text], flag.variable)
    return flag.default


def _parsed(flag: Flag[T], texts: Sequence[str], origin: str) -> T:
    try:
        values = [flag.parse(text) for text in texts]
    except ValueError as error:
        raise UsageError(f"{origin}: {error}{_service_link(texts[-1])}") from error
    value = values[0]
    for later in values[1:]:
        value = flag.combine(value, later) if flag.combine else later
    return value


def _service_link(text: str) -> str:
    """Kubernetes puts `<SERVICE>_PORT=tcp://...` into pods, which a Service named `ingressd-http` turns into ours."""
    if not text.startswith("tcp://"):
        return ""
    return " (Kubernetes sets such variables for Services: set enableServiceLinks: false on the pod)"
