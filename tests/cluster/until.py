"""Waiting for what only the API server can tell."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.kit import DEADLINE

T = TypeVar("T")
POLL = 0.02
"""Seconds between two questions."""


async def until(probe: Callable[[], Awaitable[T]], what: str, within: float = DEADLINE) -> T:
    """The first result of `probe` that is true. Raises AssertionError naming `what` after `within` seconds; what
    `probe` raises goes through. `tests.kit.eventually` is the same for what can be asked without waiting."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not (value := await probe()):
        assert loop.time() < end, f"after {within:g} s still not true: {what}; last answer {value!r}"
        await asyncio.sleep(POLL)
    return value
