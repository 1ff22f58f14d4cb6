"""Messages with the verdicts of gunicorn and llhttp, from a folder beside the repository that need not be there.

Each line of its files is one case: `raw_b64` the bytes, `expect` the verdict; for gunicorn `detail` what it read, for
llhttp `log` its callbacks and `mode` the leniency it was given.
"""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.http1.reading import Kind, Reading, read

FOLDER = Path(__file__).parents[3] / "shared" / "corpora" / "http1"

_SPAN = re.compile(r'span\[(method|url|body)\]=("(.*)"|cr|lf)$')
_STATUS = re.compile(r"headers complete status=(\d+)")


@dataclass(frozen=True)
class Verdict:
    """`outcome` is accept (at least one whole message, and nothing wrong in what follows), reject, or incomplete.
    `messages` are (start, body) of those that are whole: the start is method and target of a request, the status of
    a response."""

    outcome: str
    messages: tuple[tuple[bytes, bytes], ...]

    def __str__(self) -> str:
        return f"{self.outcome} {list(self.messages)}"


@dataclass(frozen=True)
class Case:
    """One stream and what another implementation makes of it."""

    id: str
    kind: Kind
    data: bytes
    verdict: Verdict


def cases() -> Iterator[Case]:
    """All cases; none where the folder is not there."""
    for path in sorted(FOLDER.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row: dict[str, Any] = json.loads(line)
            yield _of_gunicorn(row) if path.name.startswith("gunicorn") else _of_llhttp(row)


def _of_gunicorn(row: dict[str, Any]) -> Case:
    messages: tuple[tuple[bytes, bytes], ...] = ()
    if row["expect"] == "accept":
        details = row["detail"] if isinstance(row["detail"], list) else [row["detail"]]
        messages = tuple(
            (f"{detail['method']} {detail['uri']['raw']}".encode("latin-1"), detail["body"].encode("latin-1"))
            for detail in details
        )
    outcome = "incomplete" if row["detail"] in ("NoMoreData", "ChunkMissingTerminator") else row["expect"]
    return Case(row["id"], Kind.REQUEST, base64.b64decode(row["raw_b64"]), Verdict(outcome, messages))


def _of_llhttp(row: dict[str, Any]) -> Case:
    messages: list[tuple[bytes, bytes]] = []
    method = url = body = ""
    for line in row["log"].splitlines():
        if line.endswith("message begin"):
            method = url = body = ""
        elif found := _SPAN.search(line):
            text = {"cr": "\r", "lf": "\n"}.get(found[2]) or found[3]
            if found[1] == "method":
                method += text
            elif found[1] == "url":
                url += text
            else:
                body += text
        elif found := _STATUS.search(line):
            method = found[1]
        elif line.endswith("message complete"):
            messages.append((f"{method} {url}".rstrip().encode("latin-1"), body.encode("latin-1")))
    kind = Kind.REQUEST if row["mode"].startswith("request") else Kind.RESPONSE
    if kind is Kind.RESPONSE and row["meta"].get("skipBody"):
        kind = Kind.RESPONSE_TO_HEAD
    outcome = row["expect"]
    if row["error"] and row["error"][1].startswith("Data after"):
        # What follows the last message of a connection: neither of us reads it.
        outcome = "accept"
    return Case(row["id"], kind, base64.b64decode(row["raw_b64"]), Verdict(outcome, tuple(messages)))


def verdict_of(reading: Reading) -> Verdict:
    """Ours, in their terms."""
    messages = tuple((_start(message.head), message.body) for message in reading.messages)
    if reading.refusal is not None:
        return Verdict("reject", messages)
    if reading.until_close:
        # They were not told that the connection was closed.
        messages = messages[:-1]
    return Verdict("accept" if messages else "incomplete", messages)


def _start(head: dict[str, object]) -> bytes:
    line = head.get("line")
    if isinstance(line, bytes):
        return line.rpartition(b" ")[0]
    return str(head["status"]).encode()


def differs(ours: Verdict, theirs: Verdict) -> bool:
    """Whether the verdicts are different, or the messages that both find."""
    if ours.outcome != theirs.outcome:
        return True
    return ours.outcome != "reject" and ours.messages != theirs.messages


def differences() -> dict[str, tuple[Case, Verdict]]:
    """The cases that we judge differently, by id, with our verdict."""
    found = {}
    for case in cases():
        ours = verdict_of(read(case.data, case.kind))
        if differs(ours, case.verdict):
            found[case.id] = (case, ours)
    return found
