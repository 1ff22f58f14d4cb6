"""How many CPUs this process may use: what `--workers auto` means.

Inside a container with a CPU limit the machine's CPUs are not ours: more workers than the limit only makes them wait
for each other. The limit is a quota of the control group (cgroup v2 `cpu.max`, v1 `cpu.cfs_quota_us` over
`cpu.cfs_period_us`); the smallest one on the way up counts.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MEMBERSHIP = "proc/self/cgroup"
_MOUNT = "sys/fs/cgroup"


def usable_cpus(root: Path = Path("/")) -> int:
    """The CPU limit of the container rounded up, and never more than the CPUs this process may run on. At least 1."""
    present = len(os.sched_getaffinity(0))
    limit = cpu_limit(root)
    return present if limit is None else max(1, min(present, math.ceil(limit)))


def cpu_limit(root: Path = Path("/")) -> float | None:
    """The CPU quota in CPUs; None where there is none. `root` is the file system to look in."""
    limits = [limit for folder in _groups(root) if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders that can hold our limit: our own group's in each hierarchy and all above it."""
    try:
        lines = (root / _MEMBERSHIP).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / _MOUNT / controllers
        # In a container the path is often that of the host and missing here; the mount is then our own group.
        relative = PurePosixPath(path.lstrip("/"))
        yield from (mount / part for part in (relative, *relative.parents))


def _limit(folder: Path) -> float | None:
    try:
        if (unified := folder / "cpu.max").exists():
            quota, period = unified.read_text().split()
        else:
            quota, period = ((folder / name).read_text() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
    except (OSError, ValueError):
        return None
