"""The corpora of gunicorn and llhttp: every difference between their verdicts and ours is listed with its reason."""

import tomllib
from collections import Counter
from pathlib import Path

from tests.http1.corpora import FOLDER, cases, differences
from tests.http1.reading import read_every_way

LIST = Path(__file__).with_name("corpora_differences.toml")


def _listed() -> list[str]:
    entries = tomllib.loads(LIST.read_text())["difference"]
    assert all(entry["reason"].strip() for entry in entries)
    return [case for entry in entries for case in entry["cases"]]


def test_the_list_names_each_case_once() -> None:
    assert [case for case, count in Counter(_listed()).items() if count > 1] == []


def test_every_difference_is_listed_and_every_listed_one_differs() -> None:
    found = differences()
    listed = set(_listed()) if FOLDER.is_dir() else set()
    unlisted = {case: f"ours: {ours}; theirs: {theirs.verdict}" for case, (theirs, ours) in found.items()}
    assert {case: text for case, text in unlisted.items() if case not in listed} == {}
    assert listed - found.keys() == set()


def test_pieces_make_no_difference() -> None:
    for case in cases():
        step = 1 if len(case.data) < 1000 else 61
        read_every_way(case.data, case.kind, splits=range(1, len(case.data), step))
