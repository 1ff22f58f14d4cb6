"""Secrets whose values are made when they are read, so that no key is in a file.

    made:
      tls: {for: [a.example], from: 2024-01-01, until: 2030-01-01, as: rsa, reversed: true}
      ca.crt: {authority: Test Root}
      ca.crl: {authority: Test Root}

`tls` gives tls.crt and tls.key; each can also stand alone. All but `for` may be left out. What is written alike is the
same certificate with the same key.
"""

import datetime
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tests.kit.pki import Authority, Issued, key_pem, make_key

ROOT = "Test Root"
INTERMEDIATE = "Test Intermediate"


def filled(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document with values in place of `made`."""
    if "made" not in document:
        return document
    values: dict[str, str] = {}
    for key, what in document["made"].items():
        if key == "tls":
            values |= {"tls.crt": _value("tls.crt", what), "tls.key": _value("tls.key", what)}
        else:
            values[key] = _value(key, what)
    rest = {key: value for key, value in document.items() if key != "made"}
    return {**rest, "stringData": {**values, **document.get("stringData", {})}}


def _value(key: str, what: Mapping[str, Any]) -> str:
    if key == "ca.crt":
        return _authority(what["authority"]).pem.decode()
    if key == "ca.crl":
        return _authority(what["authority"]).revocations().decode()
    if what.get("encrypted"):
        return key_pem(make_key(), b"password").decode()
    start, end = _time(what.get("from"), 2020), _time(what.get("until"), 2100)
    one = _issued(tuple(what["for"]), start, end, what.get("as", "ecdsa"), what.get("number", 1))
    if key == "tls.key":
        return one.key.decode()
    return (one.issuers + one.certificate if what.get("reversed") else one.chain).decode()


@lru_cache
def _authority(name: str) -> Authority:
    return Authority(name, _authority(ROOT) if name == INTERMEDIATE else None)


@lru_cache
def _issued(names: tuple[str, ...], start: datetime.datetime, end: datetime.datetime, kind: str, _: int) -> Issued:
    return _authority(INTERMEDIATE).issue(*names, common_name="common.example", key=kind, start=start, end=end)


def _time(date: datetime.date | None, year: int) -> datetime.datetime:
    day = date or datetime.date(year, 1, 1)
    return datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC)
