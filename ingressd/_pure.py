"""Chooses between the compiled hot modules and their own source.

`INGRESSD_PURE=1` runs the `.py` of every module even where a compiled one lies beside it: for debugging, for
coverage, and for the tests that hold both to the same results.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

PURE_VARIABLE = "INGRESSD_PURE"


class SourceFinder(PathFinder):
    """Finds modules of this package by their `.py` alone."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("ingressd.") or path is None:
            return None
        for folder in path:
            source = Path(folder, fullname.rpartition(".")[2] + ".py")
            if source.is_file():
                return spec_from_file_location(fullname, source, loader=SourceFileLoader(fullname, str(source)))
        return None


def prefer_source() -> None:
    """Honours INGRESSD_PURE for all modules of the package that are imported from now on."""
    if os.environ.get(PURE_VARIABLE, "") not in ("", "0"):
        sys.meta_path.insert(0, SourceFinder)
