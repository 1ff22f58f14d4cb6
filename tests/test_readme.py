"""What README.md and docs/ say, held against what the program does."""

import ast
import asyncio
import contextlib
import io
import math
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingressd.admin.app import ENDPOINTS
from ingressd.aio import spawn
from ingressd.cli import objects, run
from ingressd.cli.main import COMMANDS, main
from ingressd.demo import upstream
from ingressd.demo.ports import free_port
from ingressd.demo.upstream import Server
from ingressd.http1 import grammar
from ingressd.link import BUCKETS, HISTOGRAMS, Report, RequestSeries
from ingressd.model import AccessLogFormat
from ingressd.proxy.admission import REFUSED
from ingressd.proxy.responses import CLIENT_TIMEOUT, STATUS, TUNNEL_TIMEOUT
from ingressd.telemetry.accesslog import AccessLog
from ingressd.telemetry.aggregate import Totals
from ingressd.telemetry.exposition import OWN_PREFIX, PREFIX, BuildInfo, ControllerFigures, Identity, Page
from ingressd.telemetry.record import Record
from tests.kit import DEADLINE, Client, get
from tests.kit.series import values

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text()


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def _section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level, _, title = heading.partition(" ")
    found = re.search(
        rf"^{level} {re.escape(title)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", page, re.MULTILINE | re.DOTALL
    )
    assert found, f"there is no section {heading!r}"
    return found[1]


def _rows(text: str) -> list[list[str]]:
    """The rows of all tables, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {at - 1 for at, row in enumerate(rows) if set(row[0]) <= {"-"} and row[0]}
    return [row for at, row in enumerate(rows) if at not in heads and at - 1 not in heads]


def _words(cell: str) -> list[str]:
    """What a cell has in back quotes."""
    return re.findall(r"`([^`]+)`", cell)


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


# --- links and files


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        goal = page.parent / path if path else page
        assert goal.exists(), target
        if anchor:
            assert anchor in set(_anchors(goal.read_text())), target


def _anchors(text: str) -> Iterator[str]:
    """As GitHub makes them."""
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"`((?:[a-z0-9_]+/)*[a-z0-9_]+\.(?:py|conf|toml))`", page.read_text()):
        assert (ROOT / name).exists() or (ROOT / "ingressd" / name).exists(), name


def test_every_package_is_described() -> None:
    packages = {path.parent.name for path in (ROOT / "ingressd").glob("*/__init__.py")}
    assert packages == {_words(row[0])[0] for row in _rows(_section(_page("architecture.md"), "## Packages"))}


def test_make_has_the_targets_that_are_named() -> None:
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=DEADLINE
    ).stdout
    named = {
        target for page in PAGES for target in re.findall(r"\bmake ([a-z-]+)\b(?=[`\n ]|$)", _code(page.read_text()))
    }
    assert {"demo", "test", "check", "bench"} <= named
    assert named <= set(re.findall(r"^  make ([a-z-]+) ", shown, re.MULTILINE))


def _code(text: str) -> str:
    """What is written as code, a line each."""
    return "\n".join([*_blocks(text, "sh"), *re.findall(r"`([^`\n]+)`", text)])


# --- the first manifest


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """The manifest of the README."""
    (manifest,) = _blocks(README, "yaml")
    path = tmp_path / "hello.yaml"
    path.write_text(manifest)
    return path


def _command(name: str) -> list[str]:
    """The arguments of the one line of the README that calls this command."""
    (line,) = (line for block in _blocks(README, "sh") for line in block.splitlines() if f"ingressd {name} " in line)
    return line.split()[1:]


def test_routes_prints_what_the_readme_says(hello: Path) -> None:
    command = [sys.executable, "-m", "ingressd", *_command("routes")]
    done = subprocess.run(command, cwd=hello.parent, capture_output=True, text=True, timeout=DEADLINE)
    assert [done.stdout] == _blocks(README, "text")


@pytest.fixture
def hello_socket(hello: Path) -> Iterator[socket.socket]:
    """The socket of an endpoint that the manifest names instead of port 9000."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        hello.write_text(hello.read_text().replace("9000", str(sock.getsockname()[1])))
        yield sock


async def test_run_serves_the_manifest_of_the_readme(hello: Path, hello_socket: socket.socket) -> None:
    with hello_socket as sock:
        server = Server("hello", *sock.getsockname())
        serving = spawn(upstream.serve([(server, sock)]), "server")
        ports = {"8080": str(free_port())}
        arguments = [ports.get(argument, argument) for argument in _command("run")]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ingressd", *arguments, "--healthz-port", "0", "--workers", "1"),
            cwd=hello.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            assert process.stderr is not None
            async with asyncio.timeout(DEADLINE):
                while b"ready:" not in (line := await process.stderr.readline()):
                    assert line, "it ended before it was ready"
            async with Client(int(ports["8080"])) as client:
                answer = await client.ask(get("/", host="hello.localhost"))
            assert (answer.status, answer.body[:12]) == (200, b"server hello")
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), DEADLINE) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            serving.cancel()
            await asyncio.wait([serving])


# --- docs/cli.md


def _flags(command: str) -> dict[str, str]:
    """The flags that the command itself says it has, and how it shows their defaults."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit):
            main([command, "--help"])
    flags = {}
    for flag, text in re.findall(r"^  (--[a-z-]+)(.*\n(?: {8,}.*\n)*)", printed.getvalue(), re.MULTILINE):
        default = re.search(r"\(default: (.*)\)$", " ".join(text.split()))
        flags[flag] = default[1] if default else ""
    return flags


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_documented_with_its_default(command: str) -> None:
    rows = _rows(_section(_page("cli.md"), f"## ingressd {command}"))
    documented = {flag: row[1] for row in rows for flag in _words(row[0]) if flag.startswith("--")}
    assert documented == _flags(command)


def test_the_flags_of_the_readme_exist() -> None:
    flags = _flags("run")
    for row in _rows(_section(README, "## Flags")):
        (flag,) = re.findall(r"--[a-z-]+", row[0])
        assert flags[flag].startswith(row[1]), flag


def test_each_command_is_documented() -> None:
    assert set(re.findall(r"^## ingressd (.+)$", _page("cli.md"), re.MULTILINE)) == set(COMMANDS)


# --- docs/http.md


def test_every_reason_is_documented_with_its_status() -> None:
    text = _section(_page("http.md"), "## Responses of our own")
    assert {_words(row[0])[0]: int(row[1]) for row in _rows(text)} == STATUS
    assert f"`{CLIENT_TIMEOUT}`" in text
    assert f"`{TUNNEL_TIMEOUT}`" in text


def test_every_timeout_is_documented_with_its_default() -> None:
    (times,) = (flags for title, flags in run.SECTIONS.items() if title.startswith("times"))
    of_routes = (flag for flag in objects.POLICY_FLAGS if flag.name.endswith("timeout"))
    rows = {_words(row[0])[0]: row[1] for row in _rows(_section(_page("http.md"), "## Timeouts"))}
    assert rows == {flag.option: flag.default_text for flag in (*times, *of_routes)}


def _constant(module: str, name: str) -> int:
    """A number as the source has it: a compiled module may not show it."""
    source = (ROOT / "ingressd" / module).read_text()
    (factors,) = re.findall(rf"^{name} = ([0-9]+(?: \* [0-9]+)*)$", source, re.MULTILINE)
    return math.prod(map(int, factors.split(" * ")))


def test_the_limits_are_those_of_the_code() -> None:
    text = _page("http.md")
    limits = {row[0]: row[1] for row in _rows(_section(text, "## Limits"))}
    assert limits["request line"] == f"{grammar.MAX_REQUEST_LINE // 1024} KiB"
    assert limits["one field line"] == f"{grammar.MAX_FIELD // 1024} KiB"
    assert limits["head"] == f"{grammar.MAX_HEAD // 1024} KiB"
    assert limits["fields"] == str(grammar.MAX_FIELDS)
    assert limits["extensions of one chunk"] == f"{grammar.MAX_CHUNK_EXTENSIONS // 1024} KiB"
    flags = _flags("run")
    for limit in limits.values():
        if found := re.match(r"`(--[a-z-]+)`, (\d+)", limit):
            assert flags[found[1]] == found[2]
    assert f"more than {_constant('http1/chunked.py', 'MAX_SIZE_DIGITS')} digits" in text
    assert f"More than {grammar.MAX_EMPTY_LINES} empty lines" in text
    assert f"more than {_constant('proxy/request_body.py', 'REPLAY') // 1024} KiB of" in " ".join(text.split())
    assert limits["1xx responses to one request"] == str(_constant("proxy/exchange.py", "MAX_INTERIM"))
    for method in REFUSED | grammar.IDEMPOTENT:
        assert re.search(rf"\b{method.decode()}\b", text)


# --- docs/routing.md


REASON_AT = {"Problem": 1, "Finding": 1, "Fault": 0}
"""Which argument is the reason."""


def _reasons(source: str) -> Iterator[str]:
    """The CamelCase words that stand where a reason does, or are constants of the module."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(name), args=arguments) if name in REASON_AT:
                yield from _word(arguments[REASON_AT[name]])
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=value) if name.isupper():
                yield from _word(value)


def _word(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(str(text)) if re.fullmatch(r"[A-Z][A-Za-z]+", text):
            yield text


def test_every_problem_is_documented() -> None:
    packages = ("resources", "translate", "source", "control")
    sources = (path.read_text() for package in packages for path in (ROOT / "ingressd" / package).rglob("*.py"))
    found = {reason for source in sources for reason in _reasons(source)}
    assert found == {_words(row[0])[0] for row in _rows(_section(_page("routing.md"), "## Problems"))}


# --- docs/metrics-and-logs.md


def _metrics() -> set[str]:
    """The names on a metrics page that has all there can be."""
    totals = Totals()
    totals.keep([("n", "i")], ["h"])
    buckets = tuple((1, *(0 for _ in bounds)) for bounds in BUCKETS)
    series = RequestSeries("h", "/", "n", "i", "s", "GET", 200, 1, values([1.0] * len(HISTOGRAMS), buckets))
    totals.add(0, Report((series,)))
    page = Page(Identity("n", "c", "p"), BuildInfo("1", "3", "compiled"), totals, ControllerFigures())
    text = b"".join(page.pieces()).decode()
    names = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    return {name for name in names if name.startswith((PREFIX, OWN_PREFIX)) and not name.endswith("_created")}


def test_every_metric_is_documented() -> None:
    text = _page("metrics-and-logs.md")
    theirs, own = _section(text, "### With the names of ingress-nginx"), _section(text, "### Of our own")
    documented = {PREFIX + _words(row[0])[0] for row in _rows(theirs)}
    documented |= {OWN_PREFIX + _words(row[0])[0] for row in _rows(own)}
    assert documented == _metrics()


def test_every_admin_endpoint_is_documented() -> None:
    rows = _rows(_section(_page("metrics-and-logs.md"), "## Admin endpoints"))
    assert {_words(row[0])[0] for row in rows} == set(ENDPOINTS)


def test_the_access_log_has_the_fields_that_are_documented() -> None:
    """Of a request of which not even the line could be read: each field is there, most of them as `-`."""
    text = _section(_page("metrics-and-logs.md"), "## Access log")
    record = Record(b"192.0.2.1", 0.0)
    log = AccessLog(AccessLogFormat.TEXT)
    log.tick(0.0)
    (layout,) = _blocks(text, "text")
    pattern = re.escape(layout.replace("$proxy_alternative_upstream_name", ""))
    assert re.fullmatch(re.sub(r"\\\$[a-z_]+", r"[^\\[\\]]+?", pattern), log.line(record, 0.0).decode())
    json_log = AccessLog(AccessLogFormat.JSON)
    json_log.tick(0.0)
    line = json_log.line(record, 0.0).decode()
    variables = set(re.findall(r"\$([a-z_]+)", layout)) - {"time_local"} | {"time"}
    more = {word for row in _rows(text.partition("and\nthese:")[2]) for word in _words(row[0])}
    assert set(re.findall(r'"([a-z_]+)":', line)) == variables | more
