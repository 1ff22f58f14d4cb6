"""Booleans as people write them, in flags and annotations."""

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


def parse_boolean(text: str) -> bool | None:
    """As Go's strconv.ParseBool, and so ingress-nginx, takes it; None for anything else."""
    if text in _TRUE:
        return True
    return False if text in _FALSE else None
