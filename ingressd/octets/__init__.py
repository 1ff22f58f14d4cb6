"""Bytes put together, without what Python does for objects of every kind.

This is the meaning; compiled modules use the same functions as `__init__.pxd` has them, inline and in C. A package, so
that it is not taken for a module that is compiled itself.
"""


def join(parts: list[bytes]) -> bytes:
    """The parts, one behind the other."""
    return b"".join(parts)


def decimal(value: int) -> bytes:
    """A number from 0 as digits."""
    return b"%d" % value
