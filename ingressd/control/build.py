"""How this installation was built: which hot modules run compiled."""

from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import ingressd

PACKAGE = Path(ingressd.__file__).parent


def hot_modules(package: Path = PACKAGE) -> dict[str, bool]:
    """Every hot module (one with a `.pxd` beside its `.py`) by name, and whether its compiled form is what runs."""
    names = (
        ".".join((package.name, *path.relative_to(package).with_suffix("").parts))
        for path in sorted(package.rglob("*.pxd"))
        if path.with_suffix(".py").is_file() and path.stem != "__init__"
    )
    return {name: _is_compiled(name) for name in names}


def _is_compiled(name: str) -> bool:
    spec = find_spec(name)
    return spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


def compiled_summary(modules: Mapping[str, bool]) -> str:
    """One word for all of them: `compiled`, `interpreted` or `mixed`."""
    if all(modules.values()) and modules:
        return "compiled"
    return "mixed" if any(modules.values()) else "interpreted"
