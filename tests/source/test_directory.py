"""DirectorySource on real files: what load() finds, and what it makes of paths."""

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ingressd.model import ObjectRef, Problem
from ingressd.resources import ConfigMap, Resource
from ingressd.source import directory
from ingressd.source.base import Changes, Source, SourceError
from ingressd.source.directory import DirectorySource
from tests.source.mount import mount_config_map
from tests.source.test_manifest import config_map, ref


def load(*paths: str | Path) -> Changes:
    return DirectorySource([str(path) for path in paths]).load()


def names(changes: Changes) -> list[str]:
    return [resource.name for resource in changes.upserts]


def test_it_is_a_source(tmp_path: Path) -> None:
    source: Source = DirectorySource([str(tmp_path)])
    assert source.load() == Changes()


def test_a_directory_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for path, name in (("b.yml", "b"), ("a/z.yaml", "z"), ("c.yaml", "c")):
        (tmp_path / path).write_text(config_map(name))
    (tmp_path / "a/b/c.JSON").write_text('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "json"}}')
    assert names(load(tmp_path)) == ["json", "z", "b", "c"]


def test_what_is_passed_over(tmp_path: Path) -> None:
    for path in (
        ".hidden.yaml",
        ".git/config.yaml",
        "..2024/x.yaml",
        "#a.yaml#",
        "#b.yaml",
        "a.yaml~",
        "a.yaml.swp",
        "README.md",
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(config_map("wrong"))
    (tmp_path / "directory.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    assert load(tmp_path) == Changes()


def test_a_file_that_is_named_is_read_whatever_its_name_is(tmp_path: Path) -> None:
    (tmp_path / ".manifest").write_text(config_map("a"))
    assert names(load(tmp_path / ".manifest")) == ["a"]


def test_a_mounted_config_map_is_read_exactly_once(tmp_path: Path) -> None:
    mount_config_map(tmp_path, "1", {"a.yaml": config_map("a"), "sub/b.yaml": config_map("b")})
    changes = load(tmp_path)
    assert names(changes) == ["a", "b"]
    assert changes.problems == ()


def test_a_file_that_several_paths_lead_to_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(config_map("a"))
    (tmp_path / "link.yaml").symlink_to("a.yaml")
    os.link(tmp_path / "a.yaml", tmp_path / "hard.yaml")
    (tmp_path / "circle").symlink_to(tmp_path)
    changes = load(tmp_path, tmp_path / "a.yaml", tmp_path, f"{tmp_path}/.")
    assert names(changes) == ["a"]
    assert changes.problems == ()


def test_paths_are_shown_as_the_user_gave_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "routes").mkdir()
    (tmp_path / "routes/a.yaml").write_text("kind: [\n")
    (tmp_path / "b.yaml").write_text("kind: [\n")
    assert [(found.file, found.line) for found in load("routes", f"{tmp_path}/b.yaml").problems] == [
        ("routes/a.yaml", 1),
        (f"{tmp_path}/b.yaml", 1),
    ]


def test_the_same_object_in_two_files_names_both(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(config_map("a", "first"))
    (tmp_path / "b.yaml").write_text(f"# second\n{config_map('a', 'second')}")
    changes = load(tmp_path)
    assert [resource.data for resource in changes.upserts if isinstance(resource, ConfigMap)] == [{"key": "first"}]
    assert [str(problem) for problem in changes.problems] == [
        f"{tmp_path}/b.yaml:5: ConfigMap default/a: metadata.name: the same object is in {tmp_path}/a.yaml:4, "
        "and that one is used: remove one of them [DuplicateObject]"
    ]


def test_standard_input(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(config_map("a", "file"))
    source = DirectorySource(["-", str(tmp_path), "-"], io.BytesIO(f"{config_map('a')}---\nkind: [\n".encode()))
    changes = source.load()
    assert names(changes) == ["a"]
    assert [(problem.file, problem.line) for problem in changes.problems] == [
        ("<stdin>", 8),
        (f"{tmp_path}/a.yaml", 4),
    ]


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(config_map("a"),))
    writer.start()
    try:
        assert names(load(pipe)) == ["a"]
    finally:
        writer.join()


def closed_file(path: Path) -> None:
    path.write_text("")
    path.chmod(0)


def circle(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [circle, *([closed_file] if os.geteuid() else [])])
@pytest.mark.parametrize("given", ["", "a.yaml"])
def test_what_cannot_be_read_is_an_error_at_the_start(tmp_path: Path, make: Callable[[Path], None], given: str) -> None:
    make(tmp_path / "a.yaml")
    with pytest.raises(SourceError, match=rf"^--manifests: cannot read {tmp_path}/a.yaml: [A-Z][^\n]*$"):
        load(tmp_path / given)


def test_a_path_that_does_not_exist_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^--manifests: cannot read no/such/path: No such file or directory$"):
        load(tmp_path, "no/such/path")


def test_a_link_that_leads_nowhere_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("gone.yaml")
    (tmp_path / "b.yaml").write_text(config_map("b"))
    changes = load(tmp_path)
    assert names(changes) == ["b"]
    assert [problem.message for problem in changes.problems] == ["a link that leads nowhere"]


def test_a_file_beyond_the_bound_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr("ingressd.source.yaml_split.MAX_FILE_BYTES", 1000)
    (tmp_path / "a.yaml").write_text(config_map("a") + "#" * 1000)
    (tmp_path / "b.yaml").write_text(config_map("b"))
    changes = load(tmp_path)
    assert names(changes) == ["b"]
    assert len(changes.problems) == 1
    assert "split it" in changes.problems[0].message


def test_locate_fills_in_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"# x\n{config_map('a')}")
    source = DirectorySource([str(tmp_path)])
    source.load()
    problem = Problem(ref("a"), "Reason", "message", "data[key]")
    located = source.locate(problem)
    assert (located.file, located.line) == (f"{tmp_path}/a.yaml", 7)
    assert source.locate(located) == located
    stranger = Problem(ObjectRef("Ingress", "default", "a"), "Reason", "message")
    assert source.locate(stranger) == stranger


def test_a_resource_is_what_resources_makes_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(config_map("a"))
    (resource,) = load(tmp_path).upserts
    assert isinstance(resource, Resource)
    assert resource.ref == ref("a")
