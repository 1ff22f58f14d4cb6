"""A program in a process of its own, with its output in a file."""

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.kit import eventually

# Ends with this process, however that ends. setpriv is part of util-linux.
_TIED = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()


class Program:
    """Not started yet. `log` is appended to over all starts."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        self.name = Path(command[0]).name
        self.log = log
        self._command = [*_TIED, *map(str, command)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """With which it has ended, as subprocess has it; None while it runs or if it never has."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Starts it in the folder of its log. Must not run yet. It ends with the thread that starts it, as setpriv has
        it: call this in the main thread, or in that of an event loop."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.log.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; nothing if it does not run."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once, running or not."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    async def ended(self, within: float) -> None:
        """Waits until it has ended, `within` seconds."""
        await eventually(lambda: not self.running, f"{self.name} has ended", within, lambda: self.tail(20))

    def tail(self, lines: int) -> str:
        """The last lines of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
