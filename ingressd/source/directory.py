"""Objects from manifest files, directories of them, and standard input.

How an edit arrives. A DirectoryWatch tells where something happened. Then one refresh looks at all files (cheap: it
only asks for their status), reads those that changed, parses the documents in them that are new, and compares what all
files give now with what they gave before. Lost events (network file systems, links into places that are not watched)
are made up for by a refresh every few seconds.

What goes away is treated with more care than what comes, because it cuts traffic. Editors, `git checkout` and `sed`
replace files in steps: delete and create, truncate and write. An object is removed only if a second look, REMOVAL_GRACE
after the last change of its file, does not find it either; if its file is empty, EMPTY_GRACE after: `helm template >
file` empties the file at once and writes when it is done.
"""

import asyncio
import logging
import os
import stat
import sys
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import BinaryIO

import msgspec

from ingressd.model import ObjectRef, Problem
from ingressd.source.base import Changes, SourceError, WatchFigures
from ingressd.source.directory_watch import DirectoryWatch
from ingressd.source.manifest import UNREADABLE, Manifest, Objects, Reader, file_ref, merge, unreadable
from ingressd.source.scan import Found, Scan, signature
from ingressd.source.yaml_split import MAX_FILE_BYTES

REMOVAL_GRACE = 0.03
"""Seconds. With the time to notice, a removal takes effect within 100 ms."""
EMPTY_GRACE = 1.0
RESCAN = 5.0
"""Seconds between looks without a reason."""
RESCAN_UNWATCHED = 0.5
"""The same where the system cannot tell of edits."""
PAUSE = 0.01
"""Seconds before a directory that could not be watched is tried again; doubles up to RESCAN_UNWATCHED."""

STDIN = "-"

_log = logging.getLogger(__name__)


class _File(msgspec.Struct, frozen=True):
    """One file and when it was read: `signature` is empty for what cannot be read or is read only once."""

    manifest: Manifest
    signature: tuple[int, ...] = ()
    error: OSError | None = None


class _State(msgspec.Struct, frozen=True):
    """All that a refresh starts from and ends with: it runs in a thread while locate() reads the one before."""

    scan: Scan
    files: Mapping[str, _File] = {}
    """By absolute path, in the order in which the user gave them."""
    objects: Objects = {}
    """What has been told by Changes."""
    missing: Mapping[ObjectRef, float] = {}
    """Of those, the ones that no file has now, with the time when they go, unless they come back."""
    problems: tuple[Problem, ...] = ()


class DirectorySource:
    """`paths`: values of --manifests (files, directories, `-`). `-` and pipes (`<(helm template x)`) are read once."""

    def __init__(self, paths: Sequence[str], stdin: BinaryIO | None = None) -> None:
        self._roots = tuple(dict.fromkeys(paths))
        self._stdin = stdin
        self._streams: dict[str, _File] = {}
        self._reader = Reader()
        self._state = _State(Scan())
        self._told_once = False

    def load(self) -> Changes:
        """Reads everything. Raises SourceError if a path does not exist, or a file or directory cannot be read."""
        for root in self._roots:
            self._check(root)
        self._state, changes = self._refreshed(self._state, set())
        for file in self._state.files.values():
            if file.error is not None and not _is_gone(file.error):
                raise SourceError(_sentence(file.manifest.name, file.error))
        return changes

    async def watch(self) -> AsyncGenerator[Changes, None]:
        """See Source. Never ends by itself; close it (`contextlib.aclosing`) to stop the thread that listens."""
        if not self._state.scan.directories:
            await asyncio.Event().wait()  # only standard input and pipes
        watch = DirectoryWatch(self._state.scan.directories)
        touched: set[str] = set()
        pause = PAUSE
        try:
            await watch.started()
            while True:
                told = self._state.problems
                self._state, changes = await asyncio.to_thread(self._refreshed, self._state, touched)
                if changes.upserts or changes.removals or changes.problems != told:
                    yield changes
                if watch.error is None and watch.directories == self._state.scan.directories:
                    touched = await self._reason_to_look(watch)
                    pause = PAUSE
                    continue
                if watch.error is not None:
                    self._tell_once(watch.error)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, RESCAN_UNWATCHED)
                await watch.close()
                watch = DirectoryWatch(self._state.scan.directories)
                await watch.started()
                touched = set()  # what happened between the two watches is seen by the next refresh
        finally:
            await watch.close()

    def locate(self, problem: Problem) -> Problem:
        """The problem with the place of its object and field; unchanged if it has one or the object is not ours."""
        placed = self._state.objects.get(problem.object)
        if problem.file or placed is None:
            return problem
        return msgspec.structs.replace(problem, file=placed.file, line=placed.line_of(problem.field))

    def need(self, refs: Collection[ObjectRef]) -> None:
        """See Source. All objects of the files are given in any case."""

    def missing(self) -> Sequence[str]:
        """See Source. load() has read everything."""
        return ()

    def figures(self) -> Mapping[str, WatchFigures]:
        """See Source."""
        return {}

    async def _reason_to_look(self, watch: DirectoryWatch) -> set[str]:
        """Waits until files of ours were touched, the time of a missing object has come, or RESCAN is over."""
        look_at = min([time.monotonic() + RESCAN, *self._state.missing.values()])
        while (left := look_at - time.monotonic()) > 0:
            touched = set(filter(self._state.scan.concerns, await watch.touched(left)))
            if touched or watch.error is not None:
                return touched
        return set()

    def _tell_once(self, error: Exception) -> None:
        if isinstance(error, FileNotFoundError):
            return  # a directory that has just gone
        if not self._told_once:
            self._told_once = True
            _log.warning("manifests cannot be watched, so edits take up to %s s: %s", RESCAN_UNWATCHED, error)

    def _check(self, root: str) -> None:
        try:
            if root == STDIN:
                data = (self._stdin or sys.stdin.buffer).read(MAX_FILE_BYTES + 1)
                self._streams[root] = _File(self._reader.read("<stdin>", data, {}))
                return
            mode = os.stat(root).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                self._streams[root] = _File(self._reader.read(root, _bytes(root), {}))
        except OSError as error:
            raise SourceError(_sentence("<stdin>" if root == STDIN else root, error)) from None

    def _refreshed(self, before: _State, touched: set[str]) -> tuple[_State, Changes]:
        """The state now, and what led there from `before`, which stays as it is."""
        scan, files = self._look_at_touched(before, touched) or self._look_at_all(before, touched)
        wanted, problems = merge(file.manifest for file in files.values())
        lost = sorted(before.objects.keys() - wanted.keys())
        missing = _missing(lost, files, before, time.monotonic())
        gone = tuple(ref for ref in lost if ref not in missing)
        objects = wanted | {ref: before.objects[ref] for ref in missing}
        upserts = []
        for ref, placed in wanted.items():
            former = before.objects.get(ref)
            if former is not placed and (former is None or former.resource != placed.resource):
                upserts.append(placed.resource)
        state = _State(scan, files, objects, missing, (*problems, *self._absent()))
        return state, Changes(tuple(upserts), gone, state.problems)

    def _look_at_all(self, before: _State, touched: set[str]) -> tuple[Scan, dict[str, _File]]:
        scan = Scan()
        files: dict[str, _File] = {}
        for root in self._roots:
            if (stream := self._streams.get(root)) is not None:
                files[root] = stream
                continue
            for found in scan.add(root):
                if (file := self._look(found, before, touched)) is not None:
                    files[found.path] = file
        for closed in scan.closed:
            files |= _kept(closed, before)
        return scan, files

    def _look_at_touched(self, before: _State, touched: set[str]) -> tuple[Scan, dict[str, _File]] | None:
        """The same at the price of the touched files; None if more than their content may have changed."""
        if not touched or not touched <= before.files.keys():
            return None
        files = dict(before.files)
        for path in touched:
            try:
                status = os.lstat(path)
            except OSError:
                return None
            if status.st_nlink > 1:
                return None  # perhaps a file that has another path here
            found = Found(files[path].manifest.name, path, path, signature(status))
            file = self._look(found, before, touched) if stat.S_ISREG(status.st_mode) else None
            if file is None:
                return None
            files[path] = file
        return before.scan, files

    def _look(self, found: Found, before: _State, touched: set[str]) -> _File | None:
        """The file as it is now, read only if it may have changed; None if it is gone."""
        former = before.files.get(found.path)
        if former and former.signature == found.signature != () and not touched & {found.path, found.real}:
            return former
        try:
            if found.error is not None:
                raise found.error
            return _File(self._reader.read(found.name, _bytes(found.path), before.objects), found.signature)
        except OSError as error:
            if not _is_gone(error):
                return _File(unreadable(found.name, UNREADABLE, _reason(error), before.objects), (), error)
            if found.error is None:
                return None
            problem = Problem(file_ref(found.name), UNREADABLE, "a link that leads nowhere", file=found.name)
            return _File(Manifest(found.name, problems=(problem,)), (), error)

    def _absent(self) -> list[Problem]:
        """A path the user gave that is gone. It was there at load()."""
        return [
            Problem(file_ref(root), UNREADABLE, f"{root} does not exist any more: its objects are gone", file=root)
            for root in self._roots
            if root not in self._streams and not os.path.exists(root)
        ]


def _missing(
    lost: Sequence[ObjectRef], files: Mapping[str, _File], before: _State, now: float
) -> dict[ObjectRef, float]:
    """Which of the objects that no file has now stay for a while, with the time until which they do."""
    missing: dict[ObjectRef, float] = {}
    paths = {file.manifest.name: path for path, file in (*before.files.items(), *files.items())} if lost else {}
    for ref in lost:
        path = paths.get(before.objects[ref].file, "")
        file, former = files.get(path), before.files.get(path)
        until = before.missing.get(ref)
        if until is None or (file and file.signature) != (former and former.signature):
            until = now + (EMPTY_GRACE if file is not None and file.manifest.blank else REMOVAL_GRACE)
        if until > now:
            missing[ref] = until
    return missing


def _kept(closed: Found, before: _State) -> dict[str, _File]:
    """What a path that cannot be looked at gave before, with a problem for it."""
    kept = {path: file for path, file in before.files.items() if path.startswith(f"{closed.path}/")}
    assert closed.error is not None
    kept[closed.path] = _File(
        unreadable(closed.name, UNREADABLE, _reason(closed.error), before.objects), (), closed.error
    )
    return kept


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _is_gone(error: OSError) -> bool:
    return isinstance(error, FileNotFoundError | NotADirectoryError)


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror}; its objects stay as they were"


def _sentence(name: str, error: OSError | None) -> str:
    return f"--manifests: cannot read {name}: {error.strerror if error is not None else ''}"
