"""Which manifest files there are now, and which directories have to be watched to notice that this changes.

The rules: `*.yaml`, `*.yml` and `*.json` in a directory and below it, in the order of their paths. Names that begin
with `.` or `#` are passed over: version control, editors' files, and the `..data` directories of a mounted ConfigMap,
whose files are found through the links beside them. Links are followed; a file that several paths lead to counts once.
"""

import os
import stat
from typing import NamedTuple

SUFFIXES = (".yaml", ".yml", ".json")
_MAX_STEPS = 1000
"""On the way along a path and its links, against links that lead in a circle."""


class Found(NamedTuple):
    """A file. `name` is its path as the user gave it, `path` the absolute one, `real` that with links resolved.
    Where `error` is set it (or, in Scan.closed, the directory) could not be looked at."""

    name: str
    path: str
    real: str
    signature: tuple[int, ...] = ()
    error: OSError | None = None


Identity = tuple[int, int]
"""Device and inode."""


def _identity(status: os.stat_result) -> Identity:
    return (status.st_dev, status.st_ino)


def signature(status: os.stat_result) -> tuple[int, ...]:
    """What changes when the content of a file does, but for two edits within one tick of the kernel's clock."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Scan:
    """One look at all paths. Add them in the order in which the user gave them."""

    def __init__(self) -> None:
        self.directories: dict[str, Identity] = {}
        """To watch, not with what is below them. A path may lead to another directory the next time."""
        self.closed: list[Found] = []
        """Directories that could not be read, and paths that could not be looked at."""
        self._read: set[str] = set()
        self._anchors: set[str] = set()
        self._seen: set[Identity] = set()

    def add(self, name: str) -> list[Found]:
        """The files at a path: a file itself, or those of a directory. None where it does not exist."""
        path = os.path.abspath(name)
        self._anchor(path)
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.closed.append(Found(name, path, path, error=error))
            return []
        if stat.S_ISDIR(status.st_mode):
            return self._directory(name, path, status)
        return self._file(name, path, os.path.realpath(path), status)

    def concerns(self, path: str) -> bool:
        """Whether a change of this path can mean anything to us."""
        if path in self._anchors:
            return True
        if os.path.dirname(path) not in self._read:
            return False
        # Not a log file beside the manifests, nor what editors and sed write beside a file and remove again.
        return path.lower().endswith(SUFFIXES) or path in self._read or os.path.isdir(path)

    def _directory(self, name: str, path: str, status: os.stat_result) -> list[Found]:
        if not self._is_new(status):
            return []
        self._read.add(path)
        self.directories[path] = _identity(status)
        try:
            with os.scandir(path) as entries:
                found = sorted((entry for entry in entries if entry.name[0] not in ".#"), key=lambda entry: entry.name)
        except OSError as error:
            self.closed.append(Found(name, path, path, error=error))
            return []
        files: list[Found] = []
        for entry in found:
            shown = os.path.join(name, entry.name)
            is_manifest = entry.name.lower().endswith(SUFFIXES)
            try:
                status = entry.stat()
            except OSError as error:
                if is_manifest:
                    files.append(Found(shown, entry.path, entry.path, error=error))
                continue
            if stat.S_ISDIR(status.st_mode):
                files += self._directory(shown, entry.path, status)
            elif is_manifest:
                real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                files += self._file(shown, entry.path, real, status)
        return files

    def _file(self, name: str, path: str, real: str, status: os.stat_result) -> list[Found]:
        if not stat.S_ISREG(status.st_mode) or not self._is_new(status):
            return []
        if real != path:
            self._watch(real)
        return [Found(name, path, real, signature(status))]

    def _is_new(self, status: os.stat_result) -> bool:
        identity = _identity(status)
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True

    def _anchor(self, path: str) -> None:
        """Watches the path itself and each link on the way to it: `current` of a deployment may be swapped."""
        self._watch(path)
        at, rest = "/", [part for part in reversed(path.split("/")) if part]
        for _ in range(_MAX_STEPS):
            if not rest:
                return
            at = os.path.normpath(os.path.join(at, rest.pop()))
            try:
                goal = os.readlink(at)
            except OSError:
                continue
            self._watch(at)
            if goal.startswith("/"):
                at, goal = "/", goal[1:]
            else:
                at = os.path.dirname(at)
            rest += [part for part in reversed(goal.split("/")) if part]

    def _watch(self, path: str) -> None:
        """Has `path` watched from its directory, or from the nearest one that exists."""
        self._anchors.add(path)
        directory = os.path.dirname(path)
        while directory not in self.directories:
            try:
                status = os.stat(directory)
            except OSError:
                self._anchors.add(directory)
                directory = os.path.dirname(directory)
            else:
                self.directories[directory] = _identity(status)
