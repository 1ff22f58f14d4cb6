"""`python -m ingressd` is the command `ingressd`."""

import sys

from ingressd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
