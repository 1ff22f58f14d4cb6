"""The steps of the Dockerfile, carried out on this machine.

Each RUN line is run as it stands, but that /opt is a folder of the test and that nothing is downloaded: packages of
Debian and of Python are those that the tests have. The program that comes out runs as the pod would run it.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from ingressd import __version__
from ingressd.control.build import hot_modules
from tests.manifests import contained

ROOT = Path(__file__).parent.parent
BASE = ROOT / "manifests" / "base"
COMPILING = 600
"""Seconds; enough for a machine that does other things."""


class Step(NamedTuple):
    """An instruction: `COPY` and what follows it."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return self.text.split()


def stages() -> list[list[Step]]:
    """The instructions of each stage, the first of each being its FROM."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[Step]] = []
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        if found and name:
            found[-1].append(Step(name, rest.strip()))
    return found


BUILD, FINAL = stages()


def _only(stage: list[Step], name: str) -> Step:
    (step,) = (step for step in stage if step.name == name)
    return step


# --- what is copied


def _ignored(path: Path) -> bool:
    """Whether .dockerignore keeps `path` out: the last pattern that fits it or a folder above it counts."""
    kept_out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if pattern and not pattern.startswith("#") and any(_fits(pattern, each) for each in (path, *path.parents)):
            kept_out = not line.startswith("!")
    return kept_out


def _fits(pattern: str, path: Path) -> bool:
    """Of a pattern without a slash, at the root of the repository or, behind `**/`, anywhere."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.name, pattern.removeprefix("**/"))
    return len(path.parts) == 1 and fnmatch.fnmatchcase(path.name, pattern)


def _context() -> Iterator[Path]:
    """The files that the build is given, as paths within the repository."""
    for folder, folders, files in os.walk(ROOT):
        within = Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if not _ignored(within / name)]
        yield from (within / name for name in files if not _ignored(within / name))


def test_the_build_gets_the_package_and_nothing_that_was_built_here() -> None:
    context = set(_context())
    copied = {word for step in BUILD if step.name == "COPY" for word in step.words[:-1]}
    assert {path.parts[0] for path in context} == copied
    sources = {path.relative_to(ROOT) for end in ("py", "pxd", "typed") for path in ROOT.glob(f"ingressd/**/*.{end}")}
    assert {path for path in context if path.parts[0] == "ingressd"} == sources


# --- what the image says of itself


def test_both_stages_have_the_same_base() -> None:
    """A virtual environment runs only with the Python that it was made with."""
    assert _only(BUILD, "FROM").words == [*_only(FINAL, "FROM").words, "AS", "build"]


def test_the_image_names_this_version() -> None:
    labels = dict(word.split("=", 1) for word in shlex.split(_only(FINAL, "LABEL").text))
    assert labels["org.opencontainers.image.version"] == __version__


def test_nothing_but_the_installed_program_goes_into_the_image() -> None:
    assert [step.name for step in FINAL if step.name in ("RUN", "ADD", "COPY")] == ["COPY"]
    assert _only(FINAL, "COPY").words == ["--from=build", "/opt/ingressd", "/opt/ingressd"]


def test_user_and_ports_are_those_of_the_manifests() -> None:
    pod = yaml.safe_load((BASE / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    context = pod["securityContext"]
    assert _only(FINAL, "USER").text == f"{context['runAsUser']}:{context['runAsGroup']}"
    ports = [str(port["containerPort"]) for port in pod["containers"][0]["ports"]]
    assert _only(FINAL, "EXPOSE").words == ports


# --- the steps


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What /opt is after the steps of the first stage."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    folder = tmp_path_factory.mktemp("image") / "opt"
    # That it compiles is what counts, and without optimisation it takes half the time.
    compiler = folder.parent / "cc"
    compiler.write_text('#!/bin/sh\nexec gcc "$@" -O0\n')
    compiler.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("INGRESSD_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CC": str(compiler),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as `--build-isolation=0`
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    for step in BUILD:
        if step.name == "COPY":
            _copy(step, folder)
        elif step.name == "RUN" and not step.text.startswith("apt-get"):
            _lend_packages(folder / "ingressd")
            line = step.text.replace("/opt/", f"{folder}/")
            done = subprocess.run(
                ["sh", "-c", f"umask 022; {line}"],
                cwd="/",
                env=environment,
                capture_output=True,
                text=True,
                timeout=COMPILING,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return folder


def _copy(step: Step, folder: Path) -> None:
    *sources, goal = step.words
    for path in _context():
        for source in sources:
            if path.parts[0] == source:
                copy = Path(goal.replace("/opt", str(folder), 1)) / (
                    path.relative_to(source) if (ROOT / source).is_dir() else path
                )
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, copy)


def _lend_packages(venv: Path) -> None:
    """Gives an environment in which ingressd is installed the packages of this one, in place of those that pip would
    have downloaded."""
    for installed in venv.glob("lib/python*/site-packages/ingressd"):
        (installed.parent / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")


@pytest.mark.slow
@pytest.mark.timeout(COMPILING)
def test_everybody_may_read_what_is_installed(opt: Path) -> None:
    """The user of the image owns none of it."""
    for path in (opt / "ingressd").rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode
            assert mode & stat.S_IROTH, path
            assert not mode & stat.S_IWOTH, path
            assert not path.is_dir() or mode & stat.S_IXOTH, path


@pytest.mark.slow
@pytest.mark.timeout(COMPILING)
def test_every_hot_module_is_compiled_and_no_pip_is_left(opt: Path) -> None:
    (package,) = (opt / "ingressd").glob("lib/python*/site-packages/ingressd")
    for module in hot_modules():
        assert list(package.parent.glob(f"{module.replace('.', '/')}.*.so")), module
    assert not list(package.parent.glob("pip*"))


@pytest.mark.slow
@pytest.mark.timeout(COMPILING)
def test_it_runs_as_the_pod_runs_it(opt: Path) -> None:
    """User 65532, no capability, nothing writable, port 80; ended by SIGTERM."""
    if reason := contained.why_not():
        pytest.skip(reason)
    entrypoint, arguments = (json.loads(_only(FINAL, name).text) for name in ("ENTRYPOINT", "CMD"))
    path = _only(FINAL, "ENV").text.removeprefix("PATH=").replace("/opt/", f"{opt}/")
    found = contained.run(
        opt,
        [*entrypoint, *arguments, "--manifests", str(ROOT / "manifests" / "sample"), "--workers=2"],
        {"PATH": path.replace("$PATH", os.environ["PATH"])},
        ["fancy-api.example.com", "other.example.com"],
    )
    assert found.statuses == [503, 404], found.log
    assert found.code == 0, found.log
    assert (found.user, found.writable, set(found.capabilities)) == (contained.USER, [], {"0" * 16})
