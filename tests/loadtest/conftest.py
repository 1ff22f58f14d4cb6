"""The modules of loadtest/ import each other by their plain names, as scripts in one folder do; so do tests of them."""

import sys

from tests.loadtest.started import LOADTEST

sys.path.append(str(LOADTEST))
