"""Writes down what the codec makes of thousands of streams, one line each, in order to compare two builds of it.

`python -m tests.http1.transcript COUNT` prints first which modules are compiled, then as many damaged streams, and all
seeds and all cases of the corpora, each read in an own set of pieces.
"""

import random
import sys
from collections.abc import Iterator
from importlib import import_module

from tests.http1.corpora import cases
from tests.http1.reading import Kind, read_pieces
from tests.http1.seeds import streams

HOT = ("body", "chunked", "fields", "head", "host")


def compiled() -> list[str]:
    """The modules of the codec that are not interpreted here."""
    modules = [import_module(f"ingressd.http1.{name}") for name in HOT]
    return [name for name, module in zip(HOT, modules, strict=True) if not str(module.__file__).endswith(".py")]


def pieces(data: bytes, choices: random.Random) -> Iterator[bytes]:
    """`data` whole, byte by byte, or in a few pieces."""
    if (most := choices.choice((1, 4, 40, len(data) + 1))) > len(data):
        yield data
        return
    start = 0
    while start < len(data):
        end = start + 1 + choices.randrange(most)
        yield data[start:end]
        start = end


def lines(count: int) -> Iterator[str]:
    """What was found in each stream."""
    corpora: list[tuple[Kind, bytes]] = [(case.kind, case.data) for case in cases()]
    choices = random.Random(2)
    for kind, data in [*corpora, *streams(count)]:
        yield repr(read_pieces(pieces(data, choices), kind, trusted=choices.random() < 0.5))


if __name__ == "__main__":
    print(" ".join(compiled()))
    for line in lines(int(sys.argv[1])):
        print(line)
