"""The command `ingressd`: finds the module of the command asked for and runs it.

A command is a module `ingressd.cli.<name>` with `main(arguments, environment) -> exit code`; it is imported only when
asked for. Exit codes: 0 done, 2 what was asked for cannot be done (said in one line on stderr), else a defect.
"""

import difflib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol, cast

from ingressd.cli.flags import UsageError

COMMANDS = {
    "run": "serve the Ingresses of a cluster, or of manifests",
    "routes": "print the routing table that manifests give, and their problems",
    "demo": "start small servers, ingressd in front, and print lines that show what it does",
    "version": "print the version and which modules are compiled",
}

EXIT_UNUSABLE = 2
EXIT_SIGNAL = 128
"""As shells have it: so many more than the number of the signal."""
EXIT_INTERRUPTED = EXIT_SIGNAL + signal.SIGINT


class Command(Protocol):
    def main(self, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """Does the command's work. Raises UsageError for what the user can mend."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line `arguments` (default: the process's own) and gives the exit code."""
    if arguments is None:
        _open_streams()
        # The first process of a container ignores a signal without a handler (kill(2)), and would outlive its SIGTERM.
        signal.signal(signal.SIGTERM, _terminated)
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    try:
        code = _dispatch(name, rest)
        sys.stdout.flush()
        return code
    except UsageError as error:
        print(f"ingressd: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone (`ingressd routes | head`); nothing more can be said on that stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _open_streams() -> None:
    """Standard streams that are closed (`>&-`) lead nowhere: nothing else must get their descriptors, least of all a
    socket, since all that is started writes there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115 - it stays open
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _terminated(which: int, _: object) -> None:
    """Until a command has a way of its own to end."""
    sys.exit(EXIT_SIGNAL + which)


def _dispatch(name: str, rest: Sequence[str]) -> int:
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name == "--version":
        name = "version"
    if name not in COMMANDS:
        given = f"unknown command {name!r}" if name else "no command given"
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        raise UsageError(f"{given}: " + (f"did you mean {near[0]}?" if near else f"write one of {', '.join(COMMANDS)}"))
    command = cast(Command, import_module(f"ingressd.cli.{name}"))
    return command.main(rest, os.environ)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        ["usage: ingressd COMMAND [FLAGS]", "", "Commands:", *lines, "", "ingressd COMMAND --help lists the flags."]
    )
