"""Loaded by a worker under test because its folder is on PYTHONPATH: on SIGUSR2 the worker counts its own objects.

The counts go to the file named by INGRESSD_CENSUS, as JSON. No collection is made before: what lives only in reference
cycles is counted too, because a busy worker should not need the collector to get rid of an exchange.
"""

import asyncio
import gc
import json
import os
import signal
from collections import Counter
from types import FrameType

PACKAGE = "ingressd.proxy."


def count(number: int, frame: FrameType | None) -> None:
    """Writes how many objects of each class of the data plane there are, and how many asyncio tasks."""
    classes = (type(thing) for thing in gc.get_objects())
    counts = Counter(kind.__name__ for kind in classes if kind.__module__.startswith(PACKAGE))
    counts["tasks"] = len(asyncio.all_tasks())
    path = os.environ["INGRESSD_CENSUS"]
    with open(f"{path}.new", "w") as file:
        json.dump(counts, file)
    os.replace(f"{path}.new", path)


if "INGRESSD_CENSUS" in os.environ:
    signal.signal(signal.SIGUSR2, count)
