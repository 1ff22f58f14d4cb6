"""The command `ingressd` of which only worker 0 works: the others never say that they serve, so it is never ready."""

import sys

from ingressd.cli.main import main
from ingressd.control import controller
from ingressd.control.workers import Workers

READ_ON = """
import socket, sys
link = socket.socket(fileno=int(sys.argv[2]))
while link.recv(65536):
    pass
"""


class OnlyTheFirst(Workers):
    async def start(self, number: int, tickets: bytes, update: bytes) -> None:
        if number:
            self._command = (sys.executable, "-c", READ_ON)
        await super().start(number, tickets, update)


if __name__ == "__main__":
    vars(controller)["Workers"] = OnlyTheFirst
    sys.exit(main())
