"""The text of one manifest file -> its objects, their places and its problems. No IO.

Last good state: what is in use of a file is carried on where its new text leaves open what is meant. An invalid object
keeps its last good version. While a document is no YAML, or an object in it cannot be identified, nothing of the file
that is in use goes away: it may be what stands there.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec

from ingressd.model import ObjectRef, Problem
from ingressd.resources import Resource, parse
from ingressd.resources.parse import KINDS
from ingressd.source.yaml_lines import field_line
from ingressd.source.yaml_split import DocumentError, decode, split
from ingressd.source.yaml_values import parse as parse_yaml

NOT_YAML = "NotYAML"
UNREADABLE = "Unreadable"
DUPLICATE = "DuplicateObject"


class Document:
    """One document of a file. It depends on nothing but its text, so it is kept as long as that stays.

    `problems` have lines of this text. `unclear`: something in it is or was an object, but not known which.
    """

    __slots__ = ("__weakref__", "_lines", "_places", "problems", "resources", "text", "unclear")

    def __init__(self, text: str) -> None:
        self.text = text
        self.resources: tuple[Resource, ...] = ()
        self.problems: tuple[Problem, ...] = ()
        self._places: Mapping[ObjectRef, str] = {}
        self._lines: dict[tuple[ObjectRef, str], int] = {}
        try:
            value = parse_yaml(text)
            if not isinstance(value, dict | None):
                what = "a list" if isinstance(value, list) else "a single value"
                raise DocumentError(f"{what} stands where `apiVersion:`, `kind:` and so on belong", 1)
        except DocumentError as error:
            self.problems = (Problem(ObjectRef("File", "", ""), NOT_YAML, error.message, line=error.line),)
            self.unclear = True
            return
        if value is None:
            self.unclear = False
            return
        parsed = parse(value)
        self.resources = parsed.resources
        self._places = parsed.places
        self.problems = tuple(
            msgspec.structs.replace(problem, line=self.line(problem.object, problem.field))
            for problem in parsed.problems
        )
        self.unclear = any(not found.object.name or found.object.kind not in KINDS for found in parsed.problems)

    def line(self, ref: ObjectRef, field: str) -> int:
        """The line (from 1) of the text where a field of one of its objects stands."""
        key = (ref, field)
        if key not in self._lines:
            place = self._places.get(ref, "")
            self._lines[key] = field_line(self.text, f"{place}.{field}" if place else field)
        return self._lines[key]


class Placed(NamedTuple):
    """An object in use and the place where it is written. (If what stands there now is invalid, or the file cannot be
    read any more, the object is the last good one and the place the last one known.)"""

    resource: Resource
    file: str
    line: int
    document: Document

    def line_of(self, field: str) -> int:
        """The line of the file."""
        return self.line - 1 + self.document.line(self.resource.ref, field)


Objects = Mapping[ObjectRef, Placed]


class Manifest(msgspec.Struct, frozen=True):
    """One file. `name` is its path as shown to the user."""

    name: str
    documents: tuple[Document, ...] = ()
    objects: Objects = {}
    problems: tuple[Problem, ...] = ()
    blank: bool = False
    """Nothing but white space: perhaps an editor has truncated it and is about to write."""


class Reader:
    """Reads manifests; keeps every document that something still refers to, so that its text is parsed once, even if
    it moves to another file."""

    def __init__(self) -> None:
        self._documents: WeakValueDictionary[str, Document] = WeakValueDictionary()

    def read(self, name: str, data: bytes, used: Objects) -> Manifest:
        """The manifest in a file with this content; `used` are the objects that are in use, of all files."""
        try:
            text = decode(data)
        except DocumentError as error:
            return unreadable(name, NOT_YAML, error.message, used, line=error.line)
        placed = [(piece.line, self._document(piece.text)) for piece in split(text)]
        objects: dict[ObjectRef, Placed] = {}
        problems: list[Problem] = []
        for line, document in placed:
            for resource in document.resources:
                here = Placed(resource, name, line, document)
                if (first := objects.setdefault(resource.ref, here)) is not here:
                    problems.append(duplicate(here, first))
            for problem in document.problems:
                ref = problem.object if problem.reason != NOT_YAML else file_ref(name)
                problems.append(msgspec.structs.replace(problem, object=ref, file=name, line=line - 1 + problem.line))
        for line, document in placed:
            for problem in document.problems:
                if (good := used.get(problem.object)) is not None and good.file == name:
                    objects.setdefault(problem.object, Placed(good.resource, name, line, document))
        if any(document.unclear for _, document in placed):
            objects = {**_of_file(name, used), **objects}
        documents = tuple(document for _, document in placed)
        return Manifest(name, documents, objects, tuple(problems), not text.strip())

    def _document(self, text: str) -> Document:
        document = self._documents.get(text)
        if document is None:
            document = self._documents[text] = Document(text)
        return document


def unreadable(name: str, reason: str, message: str, used: Objects, line: int = 0) -> Manifest:
    """A file of which nothing can be read: what is in use of it stays."""
    problem = Problem(file_ref(name), reason, message, file=name, line=line)
    return Manifest(name, objects=_of_file(name, used), problems=(problem,))


def _of_file(name: str, used: Objects) -> Objects:
    return {ref: placed for ref, placed in used.items() if placed.file == name}


def merge(manifests: Iterable[Manifest]) -> tuple[dict[ObjectRef, Placed], list[Problem]]:
    """The objects of all files, and all problems. Of an object in two files, that of the first file stays."""
    objects: dict[ObjectRef, Placed] = {}
    problems: list[Problem] = []
    for manifest in manifests:
        problems += manifest.problems
        for ref, placed in manifest.objects.items():
            if (first := objects.setdefault(ref, placed)) is not placed:
                problems.append(duplicate(placed, first))
    return objects, problems


def duplicate(ignored: Placed, used: Placed) -> Problem:
    """Says that one object is written in two places."""
    line = ignored.line_of("metadata.name")
    if (ignored.document, ignored.file, ignored.line) == (used.document, used.file, used.line):
        message = "the same object stands twice in this list, and the first is used: remove one of them"
    else:
        place = f"{used.file}:{used.line_of('metadata.name')}"
        message = f"the same object is in {place}, and that one is used: remove one of them"
    return Problem(ignored.resource.ref, DUPLICATE, message, "metadata.name", file=ignored.file, line=line)


def file_ref(name: str) -> ObjectRef:
    """What a problem of a whole file is about."""
    return ObjectRef("File", "", name)
