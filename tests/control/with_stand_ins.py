"""The command `ingressd` with stand-ins for its workers: `python -m tests.control.with_stand_ins run ...`."""

import sys
from pathlib import Path

from ingressd.cli.main import main
from ingressd.control import controller

if __name__ == "__main__":
    controller.WORKER_COMMAND = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
    sys.exit(main())
