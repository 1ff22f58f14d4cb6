"""Tables for docs/performance.md."""

from dataclasses import asdict
from pathlib import Path

import pytest
import report
from figures import Sample
from matrix import CELLS
from report import BEGIN, END, MarkerError

PAGE = Path(__file__).parent.parent.parent / "docs" / "performance.md"


def _rounds(*microseconds: float, p99: float = 3000.0) -> list[dict[str, object]]:
    return [asdict(Sample(cpu / 4, 3 * cpu / 4, cpu, 20000.0, 1000.0, p99, 9000.0, 1 << 20, 1)) for cpu in microseconds]


def _cell(**rounds: list[dict[str, object]]) -> dict[str, object]:
    return {"title": "", "samples": rounds}


def _document(**cells: dict[str, object]) -> dict[str, object]:
    return {
        "date": "2026-01-02",
        "machine": "ingressd 1 on Python 3",
        "options": {"rounds": 3, "seconds": 2},
        "load_average": [0.5, 1.25],
        "cells": {name.replace("_", "-"): cell for name, cell in cells.items()},
    }


def _row(table: str, title: str) -> list[str]:
    """The first that has this title."""
    (row, *_) = (line for line in table.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def _title(name: str) -> str:
    (cell,) = (cell for cell in CELLS if cell.name == name)
    return cell.title


def test_ratios_with_their_spread_and_the_budget() -> None:
    table = report.table(
        _document(
            get_64=_cell(
                ingressd=_rounds(22.0, 30.0, 24.0), nginx=_rounds(20.0, 30.0, 20.0), caddy=_rounds(100, 100, 100)
            )
        )
    )
    assert _row(table, _title("get-64")) == [
        "small GET, 64 connections",
        "24.0 (22.0-30.0)",
        "1.10 (1.00-1.20)",
        "0.24 (0.22-0.30)",
        "nginx 1.00: missed by 0.10; caddy 0.45: met",
    ]


def test_a_peer_that_was_not_measured_has_an_empty_place() -> None:
    table = report.table(
        _document(
            get_8=_cell(ingressd=_rounds(20.0), nginx=_rounds(20.0)),
            response_1mib=_cell(ingressd=_rounds(500.0), nginx=_rounds(1000.0), **{"nginx-64k": _rounds(500.0)}),
        )
    )
    assert _row(table, _title("get-8"))[2:] == ["1.00 (1.00-1.00)", "", ""]
    assert _row(table, _title("response-1mib"))[2:] == ["0.50 (0.50-0.50)", "1.00 (1.00-1.00)", "nginx 0.67: met"]


def test_at_a_fixed_rate_the_budget_is_that_of_latency() -> None:
    table = report.table(
        _document(half_load=_cell(ingressd=_rounds(40.0, p99=4000.0), nginx=_rounds(20.0, p99=2000.0)))
    )
    assert _row(table, _title("half-load"))[2:] == ["2.00 (2.00-2.00)", ""]
    assert _row(table, "the same, p99 of latency")[2:] == ["2.00 (2.00-2.00)", "nginx 1.50: missed by 0.50"]


def test_all_figures_of_a_proxy() -> None:
    table = report.table(_document(get_8=_cell(ingressd=_rounds(20.0, 20.0), nginx=_rounds(40.0, 60.0))))
    assert "|  | nginx | 50.0 | 12.5 | 37.5 | 20,000 | 1.00 | 3.00 | 9.00 | 1.0 | 2 |" in table


def test_hosts_and_idle_connections_have_a_sentence() -> None:
    few, many = _cell(ingressd=_rounds(20.0), nginx=_rounds(20.0)), _cell(ingressd=_rounds(21.0), nginx=_rounds(20.0))
    idle = _cell(ingressd=_rounds(20.0)) | {"idle_bytes": {"ingressd": 1544.4, "nginx": 476.0}}
    table = report.table(_document(hosts_1=few, hosts_10000=many, idle_10000=idle))
    relative = "CPU per request with 10,000 hosts, relative to that with one"
    assert f"{relative}: ingressd 1.05, nginx 1.00. Budget 1.05: met." in table
    assert "Bytes of memory for each idle connection: ingressd 1,544, nginx 476. Budget 4,096: met." in table
    dear = _cell(ingressd=_rounds(23.1), nginx=_rounds(20.0))
    idle |= {"idle_bytes": {"ingressd": 5096.0}}
    table = report.table(_document(hosts_1=many, hosts_10000=dear, idle_10000=idle))
    assert "Budget 1.05: missed by 0.05." in table
    assert "Budget 4,096: missed by 1,000." in table


def test_only_what_is_between_the_marks_is_replaced() -> None:
    document = _document(get_8=_cell(ingressd=_rounds(20.0)))
    text = f"by hand\n{BEGIN}\nold\n{END}\nmore by hand\n"
    written = report.page(text, document)
    assert written.startswith(f"by hand\n{BEGIN}\n2026-01-02. ingressd 1 on Python 3.")
    assert written.endswith(f"{END}\nmore by hand\n")
    assert "old" not in written
    assert report.page(written, document) == written


def test_a_page_without_marks_is_left_alone() -> None:
    with pytest.raises(MarkerError, match="between which the tables go"):
        report.page("no marks\n", _document())


def test_the_documentation_has_the_marks() -> None:
    text = PAGE.read_text()
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    assert text.index(BEGIN) < text.index(END)


def test_a_terminal_gets_a_line_for_each_proxy() -> None:
    head, own, nginx = report.lines(_cell(ingressd=_rounds(20.0, 22.0), nginx=_rounds(40.0, 40.0)))
    assert head.split()[:2] == ["us/request", "user"]
    assert own.split() == ["ingressd", "21.0", "5.2", "15.8", "20000", "1.00", "3.00", "9.00", "1.0", "2"]
    assert nginx.endswith("0.53 (0.50-0.55)")
