"""What is said about the annotations of an Ingress: each that is meant for us and has no effect is a Problem."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice

from ingressd.resources.boolean import parse_boolean
from ingressd.resources.metadata import OWN_PREFIX
from ingressd.resources.nearest import Words
from ingressd.translate import tls_annotations
from ingressd.translate.annotation_keys import (
    ALIASES,
    KEYS,
    LIKE_PREFIXES,
    MEANT,
    MEANT_BEGINNINGS,
    OWN_KEYS,
    PREFIX,
    PROTECTIVE,
    REMARKS,
    field_of,
)

CANARY = f"{PREFIX}canary"

UNSUPPORTED = "UnsupportedAnnotation"
UNKNOWN = "UnknownAnnotation"
MISPLACED = "MisplacedAnnotation"

_KNOWN = KEYS | ALIASES.keys()
_WORDS = Words(_KNOWN)
_OWN_WORDS = Words(OWN_KEYS)
_KEYS_REMEMBERED = 1 << 16
_MOST_KEYS = 100


def is_canary(annotations: Mapping[str, str]) -> bool:
    """Whether an Ingress only lends a part of another's traffic to another Service."""
    return parse_boolean(annotations.get(CANARY, "")) is True


def annotation_faults(annotations: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Field, reason and message for each key that is meant for us and does nothing; of more than a hundred the first,
    since the API server allows ten thousand."""
    faults = ((key, fault) for key in annotations if (fault := _fault(key)) is not None)
    for key, fault in islice(faults, _MOST_KEYS):
        yield field_of(key), *fault


@lru_cache(maxsize=_KEYS_REMEMBERED)
def _fault(key: str) -> tuple[str, str] | None:
    """Reason and message; None for a key that is none of our business."""
    domain, slash, name = key.rpartition("/")
    prefix = domain + slash
    if prefix == PREFIX:
        if name in tls_annotations.KEYS:
            return None
        return (UNSUPPORTED, _unsupported(name)) if name in _KNOWN else (UNKNOWN, _unknown(key, name))
    if prefix == OWN_PREFIX:
        return None if name in OWN_KEYS else (UNKNOWN, _unknown_own(key, name))
    if name in OWN_KEYS and prefix in LIKE_PREFIXES:
        return MISPLACED, f"{key} is read by nobody: the key is {OWN_PREFIX}{name}"
    if prefix in LIKE_PREFIXES and name in _KNOWN:
        more = "" if name in tls_annotations.KEYS else f". {_unsupported(name)}"
        return MISPLACED, f"{key} is read by nobody: the key is {PREFIX}{name}{more}"
    return None


def _unsupported(name: str) -> str:
    if name.endswith("-snippet"):
        return "snippets are never supported: no text of an Ingress becomes configuration"
    text = f"{name} is not supported yet and has no effect"
    return f"{text}: requests that it should refuse are let through" if name in PROTECTIVE else text


def _unknown_own(key: str, name: str) -> str:
    nearest = "" if name in _KNOWN else _OWN_WORDS.nearest(name)
    return f"there is no annotation {key}: did you mean {OWN_PREFIX}{nearest}?" if nearest else _unknown(key, name)


def _unknown(key: str, name: str) -> str:
    text = f"there is no annotation {key}"
    if name in _KNOWN:
        return f"{text}: did you mean {PREFIX}{name}?"
    if name in OWN_KEYS:
        return f"{text}: did you mean {OWN_PREFIX}{name}?"
    if remark := REMARKS.get(name):
        return f"{text}: {remark}"
    meant = MEANT.get(name) or next((key for start, key in MEANT_BEGINNINGS.items() if name.startswith(start)), "")
    nearest = meant or _WORDS.nearest(name)
    return f"{text}: did you mean {PREFIX}{nearest}?" if nearest else text
