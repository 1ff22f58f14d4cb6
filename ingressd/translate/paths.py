"""Paths of rules -> PathMatch, and what is said about those that match otherwise than their author may think."""

import re
from collections.abc import Iterator

from ingressd.model import PathKind
from ingressd.resources import HTTPIngressPath, PathType
from ingressd.resources.finding import shown
from ingressd.routing import InvalidPath, normal_path

REGEX = "RegexNotSupported"
NOT_NORMAL = "PathNotNormal"

_PLAIN = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*/?")
"""What nothing has to be said about. Nearly all paths are like this."""
_REGEX_CHARACTERS = re.compile(r"[()\[\]{}*?^$|\\]|\.\+")
_CATCH_ALL = re.compile(r"(?P<head>(/[^()\[\]{}*+?^$|\\]*?)?)/?(\(/\|\$\)|\(/\|\)|/\?)?(\(\.[*+]\)|\.[*+])?\$?")
"""A prefix as it is written for ingress-nginx in regex mode: `/app(/|$)(.*)`, `/app/?(.*)`, `/app/.*`."""
_NOT_NORMAL = re.compile(r"%[0-9A-Fa-f]{2}|//|/\.\.?(/|$)")


def path_match(path: HTTPIngressPath) -> tuple[PathKind, str]:
    """How a path of a rule is compared. ImplementationSpecific is Prefix here, and without path everything."""
    kind = PathKind.EXACT if path.path_type == PathType.EXACT else PathKind.PREFIX
    return kind, path.path or "/"


def path_remarks(path: HTTPIngressPath) -> Iterator[tuple[str, str]]:
    """Reason and message of each warning. The routes are made all the same."""
    value = path.path
    if _PLAIN.fullmatch(value):
        return
    if _REGEX_CHARACTERS.search(value):
        prefix = _CATCH_ALL.fullmatch(value)
        instead = f": write path {shown(prefix['head'] or '/')} with pathType Prefix" if prefix else ""
        yield REGEX, f"{shown(value)} is compared as it stands, since regular expressions are not supported{instead}"
    if _NOT_NORMAL.search(value.rstrip("/")):  # slashes at the end are ignored, however many
        yield NOT_NORMAL, f"{shown(value)} is compared with the decoded, normalised path of a request{_written(value)}"


def _written(value: str) -> str:
    try:
        normal = normal_path(value.encode()).decode()
    except (InvalidPath, UnicodeDecodeError):
        return " and never matches"
    return f" and never matches: write {shown(normal)}"
