"""DirectorySource.watch() where paths lead through links, as in a mounted ConfigMap, or go away."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ingressd.source import directory
from tests.source.mount import mount_config_map
from tests.source.test_manifest import config_map
from tests.source.watched import DEADLINE, watching, write_and_rename


async def test_a_mounted_config_map_that_is_updated(tmp_path: Path) -> None:
    mount_config_map(tmp_path, "1", {"a.yaml": config_map("a"), "sub/b.yaml": config_map("b")})
    async with watching(tmp_path) as watched:
        for version in range(2, 5):
            value = f"v{version}"
            mount_config_map(
                tmp_path, str(version), {"a.yaml": config_map("a", value), "sub/b.yaml": config_map("b", value)}
            )
            await watched.until_values(a=value, b=value)
        assert watched.removed == []
        assert watched.problems == ()


async def test_a_file_of_a_mounted_config_map_that_is_updated(tmp_path: Path) -> None:
    mount_config_map(tmp_path, "1", {"a.yaml": config_map("a")})
    async with watching(tmp_path / "a.yaml") as watched:
        mount_config_map(tmp_path, "2", {"a.yaml": config_map("a", "two")})
        await watched.until_values(a="two")
        assert watched.removed == []


async def test_a_link_on_the_way_that_is_swapped(tmp_path: Path) -> None:
    for release in ("r1", "r2"):
        (tmp_path / release / "manifests").mkdir(parents=True)
        (tmp_path / release / "manifests/a.yaml").write_text(config_map("a", release))
    (tmp_path / "current").symlink_to("r1")
    async with watching(tmp_path / "current/manifests") as watched:
        (tmp_path / "new").symlink_to(tmp_path / "r2")
        (tmp_path / "new").rename(tmp_path / "current")
        await watched.until_values(a="r2")
        (tmp_path / "r2/manifests/a.yaml").write_text(config_map("a", "edited"))
        await watched.until_values(a="edited")
        assert watched.removed == []


async def test_what_a_link_in_the_directory_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.yaml").write_text(config_map("a"))
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/a.yaml").symlink_to("../real/a.yaml")
    async with watching(tmp_path / "manifests") as watched:
        write_and_rename(tmp_path / "real/a.yaml", config_map("a", "two"))
        await watched.until_values(a="two")


async def test_a_file_that_becomes_a_link_is_followed_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "RESCAN", 2 * DEADLINE)
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/a.yaml").write_text(config_map("a"))
    (tmp_path / "real.yaml").write_text(config_map("a", "two"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/real.yaml").write_text(config_map("a", "three"))
    async with watching(tmp_path / "manifests") as watched:
        for goal, value in (("../real.yaml", "two"), ("../other/real.yaml", "three")):
            (tmp_path / "manifests/new").symlink_to(goal)
            (tmp_path / "manifests/new").rename(tmp_path / "manifests/a.yaml")
            await watched.until_values(a=value)
        (tmp_path / "other/real.yaml").write_text(config_map("a", "edited"))
        await watched.until_values(a="edited")


@pytest.mark.parametrize("link", [os.symlink, os.link])
async def test_a_file_that_becomes_another_path_of_one_of_ours_is_no_second_one(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(config_map(name))
    async with watching(tmp_path) as watched:
        link(tmp_path / "a.yaml", tmp_path / "new")
        (tmp_path / "new").rename(tmp_path / "b.yaml")
        await watched.until_values(a="one")
        assert [changes.problems for changes in watched.history] == [()] * len(watched.history)


async def test_a_link_in_a_circle_that_then_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "RESCAN", 0.05)
    path = tmp_path / "a.yaml"
    path.write_text(config_map("a"))
    (tmp_path / "middle").symlink_to(path)
    (tmp_path / "new").symlink_to("middle")
    async with watching(tmp_path) as watched:
        (tmp_path / "new").rename(path)
        await watched.until(lambda: "its objects stay" in "".join(map(str, watched.problems)))
        (tmp_path / "middle").unlink()
        await watched.until_values()
        assert [problem.message for problem in watched.problems] == ["a link that leads nowhere"]


async def test_a_path_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "a.yaml").write_text(config_map("a"))
    async with watching(manifests) as watched:
        shutil.rmtree(manifests)
        await watched.until_values()
        assert [problem.message for problem in watched.problems] == [
            f"{manifests} does not exist any more: its objects are gone"
        ]
        manifests.mkdir()
        (manifests / "a.yaml").write_text(config_map("a", "two"))
        await watched.until_values(a="two")
        assert watched.problems == ()
