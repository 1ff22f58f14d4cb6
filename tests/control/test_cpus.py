"""`--workers auto` is the CPU limit of the container, rounded up, and never more than the CPUs there are."""

import os
from pathlib import Path

import pytest

from ingressd.control.cpus import cpu_limit, usable_cpus


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {"proc/self/cgroup": "0::/\n"}
V1 = {"proc/self/cgroup": "4:cpu,cpuacct:/kubepods/pod1\n3:memory:/kubepods/pod1\n"}
V1_MOUNT = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        (V2, None),
        (V2 | {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        (V2 | {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        (V2 | {"sys/fs/cgroup/cpu.max": "nonsense\n"}, None),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
                "sys/fs/cgroup/cpu.max": "400000 100000\n",
            },
            0.5,
        ),
        # The path in /proc is the host's; inside the container the mount is the group itself.
        (V1 | {f"{V1_MOUNT}/cpu.cfs_quota_us": "200000\n", f"{V1_MOUNT}/cpu.cfs_period_us": "100000\n"}, 2.0),
        (V1 | {f"{V1_MOUNT}/cpu.cfs_quota_us": "-1\n", f"{V1_MOUNT}/cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_limit(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    assert cpu_limit(write(tmp_path, files)) == limit


@pytest.mark.parametrize(("quota", "expected"), [("10000", 1), ("100000", 1), ("110000", 2)])
def test_rounded_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert usable_cpus(write(tmp_path, V2 | {"sys/fs/cgroup/cpu.max": f"{quota} 100000\n"})) == expected


def test_never_more_than_there_are(tmp_path: Path) -> None:
    assert usable_cpus(write(tmp_path, V2 | {"sys/fs/cgroup/cpu.max": "99900000 100000\n"})) == len(
        os.sched_getaffinity(0)
    )


def test_without_a_limit_all_that_may_be_used(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == len(os.sched_getaffinity(0))
