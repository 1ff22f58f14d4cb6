"""Requests: credentials, errors, lines."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_asyncio.client.configuration import Configuration

from ingressd.source.cluster import access as access_module
from ingressd.source.cluster import api as api_module
from ingressd.source.cluster.access import Access, AccessError, Kubeconfig
from ingressd.source.cluster.api import LONGEST_PAUSE, NO_ANSWER, ApiError
from tests.kit import eventually
from tests.source.cluster.asking import INGRESSES, failure, using
from tests.source.cluster.conftest import ConfigFile
from tests.source.cluster.fake import TOKEN, FakeApi, Refusal, fake_api, ingress

DEADLINE = 10.0


# --- errors


async def test_a_body_is_given_as_it_came(fake: FakeApi, access: Access) -> None:
    fake.put(ingress("web"))
    async with using(access) as api:
        assert b'"name": "web"' in await api.request("GET", INGRESSES, {"limit": "500"})
        assert fake.requests[-1].query == {"limit": "500"}


async def test_a_refusal_has_status_reason_message_and_pause(fake: FakeApi, access: Access) -> None:
    fake.refuse = lambda request: Refusal(429, "TooManyRequests", "later,\nplease", after=7)
    async with using(access) as api:
        error = await failure(api)
    assert (error.status, error.reason, error.message, error.retry_after) == (
        429,
        "TooManyRequests",
        "later, please",
        7,
    )


async def test_nobody_has_us_wait_for_a_day(fake: FakeApi, access: Access) -> None:
    fake.refuse = lambda request: Refusal(429, "TooManyRequests", "tomorrow", after=86400)
    async with using(access) as api:
        assert (await failure(api)).retry_after == LONGEST_PAUSE


async def test_what_is_no_status_of_kubernetes_is_said_by_its_http_status(access: Access, fake: FakeApi) -> None:
    async with using(access) as api:
        error = await failure(api, "/apis/networking.k8s.io/v1/nonsense")
    assert (error.status, error.message) == (404, "404 Not Found")


async def test_a_refusal_in_another_encoding_is_said_by_its_http_status(kubeconfig: ConfigFile) -> None:
    """As of a proxy in between."""
    body = '{"message": "nicht verf\u00fcgbar"}'.encode("latin-1")

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Unavailable\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        writer.close()

    proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    kubeconfig.edit(lambda config: config["clusters"][0]["cluster"].update(server=f"http://127.0.0.1:{port}"))
    async with proxy, using(Kubeconfig(kubeconfig.path, "")) as api:
        error = await failure(api)
    assert (error.status, error.message) == (503, "503 Unavailable")


@pytest.mark.parametrize("server", ["192.0.2.1:6443", "api.example:6443", "[2001:db8::1]:6443", "ftp://api.example"])
async def test_a_server_that_is_no_url_is_said(kubeconfig: ConfigFile, server: str) -> None:
    kubeconfig.edit(lambda config: config["clusters"][0]["cluster"].update(server=server))
    async with using(Kubeconfig(kubeconfig.path, "")) as api:
        error = await failure(api)
    assert (error.status, error.message) == (NO_ANSWER, f'the server is "{server}": write https://HOST:PORT')


async def test_nobody_there_is_no_answer(fake: FakeApi, access: Access) -> None:
    await fake.stop()
    async with using(access) as api:
        error = await failure(api)
    assert error.status == NO_ANSWER
    assert "connect" in error.message.lower()
    assert "\n" not in error.message


# --- credentials


async def test_credentials_that_are_not_known_are_loaded_again_once(fake: FakeApi, kubeconfig: ConfigFile) -> None:
    async with using(Kubeconfig(kubeconfig.path, "")) as api:
        await api.request("GET", INGRESSES)
        client = await api.client()
        fake.token = "another"
        error = await failure(api)
        assert (error.status, len(fake.requests)) == (401, 3)
        kubeconfig.write("another")
        await api.request("GET", INGRESSES)
        assert len(fake.requests) == 5, "401 and again"
        assert await api.client() is client, "who has it keeps it"


async def test_watches_go_on_with_the_connections_they_have(fake: FakeApi, kubeconfig: ConfigFile) -> None:
    async with using(Kubeconfig(kubeconfig.path, "")) as api:
        query = {"watch": "true", "resourceVersion": "100"}
        async with api.lines(INGRESSES, query, silence=DEADLINE, total=DEADLINE) as lines:
            fake.token = "another"
            kubeconfig.write("another")
            await api.request("GET", INGRESSES)
            fake.put(ingress("web"))
            assert b'"name": "web"' in await anext(lines)


async def test_a_kubeconfig_that_is_gone_for_a_moment_is_no_answer(fake: FakeApi, kubeconfig: ConfigFile) -> None:
    async with using(Kubeconfig(kubeconfig.path, "")) as api:
        await api.request("GET", INGRESSES)
        fake.token = "another"
        kubeconfig.remove()
        error = await failure(api)
        assert error.status == NO_ANSWER
        assert kubeconfig.path in error.message
        kubeconfig.write("another")
        await api.request("GET", INGRESSES)


def with_user(kubeconfig: ConfigFile, user: dict[str, Any]) -> Kubeconfig:
    kubeconfig.edit(lambda config: config["users"][0].update(user=user))
    return Kubeconfig(kubeconfig.path, "")


async def test_a_token_file_beside_the_kubeconfig_is_read_again(fake: FakeApi, kubeconfig: ConfigFile) -> None:
    token = kubeconfig.beside("token")
    token.write_text(f"{TOKEN}\n")
    async with using(with_user(kubeconfig, {"tokenFile": "token"})) as api:
        await api.request("GET", INGRESSES)
        fake.token = "another"
        token.write_text("another\n")
        await api.request("GET", INGRESSES)


VERSION = "client.authentication.k8s.io/v1"


def plugin(*arguments: str) -> dict[str, Any]:
    """Python, as a credential plugin."""
    return {"apiVersion": VERSION, "command": sys.executable, "args": list(arguments)}


async def test_a_plugin_is_asked_again(fake: FakeApi, kubeconfig: ConfigFile) -> None:
    answer = kubeconfig.beside("answer")

    def says(token: str) -> None:
        status = {"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"}
        answer.write_text(yaml.safe_dump({"apiVersion": VERSION, "kind": "ExecCredential", "status": status}))

    script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1]).read()), sys.stdout, default=str)"
    says(TOKEN)
    async with using(with_user(kubeconfig, {"exec": plugin("-c", script, str(answer))})) as api:
        await api.request("GET", INGRESSES)
        fake.token = "another"
        says("another")
        await api.request("GET", INGRESSES)
        fake.token = "yet another"
        answer.unlink()
        error = await failure(api)
    assert (error.status, kubeconfig.path in error.message) == (NO_ANSWER, True)


async def test_a_plugin_that_does_not_answer_is_ended(
    fake: FakeApi, kubeconfig: ConfigFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_module, "PLUGIN_TIMEOUT", 1)
    pid = kubeconfig.beside("pid")
    script = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
    async with using(with_user(kubeconfig, {"exec": plugin("-c", script, str(pid))})) as api:
        error = await failure(api)
    assert (error.status, f"{sys.executable} has not answered within 1 s" in error.message) == (NO_ANSWER, True)
    assert not fake.requests
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("more", "said"),
    [({"command": "/no/such/plugin"}, "/no/such/plugin: No such file"), ({}, "exec: process returned 1. sorry")],
)
async def test_why_a_plugin_fails_is_said(kubeconfig: ConfigFile, more: dict[str, Any], said: str) -> None:
    user = {"exec": {**plugin("-c", "import sys; sys.exit('sorry')"), **more}}
    async with using(with_user(kubeconfig, user)) as api:
        error = await failure(api)
    assert (error.status, said in error.message, kubeconfig.path in error.message) == (NO_ANSWER, True, True)


async def test_a_plugin_may_say_much(fake: FakeApi, kubeconfig: ConfigFile) -> None:
    script = f"""
import json, sys
sys.stderr.write("x" * 1000000)
json.dump({{"apiVersion": "{VERSION}", "kind": "ExecCredential", "status": {{"token": "{TOKEN}"}}}}, sys.stdout)
"""
    async with using(with_user(kubeconfig, {"exec": plugin("-c", script)})) as api:
        await api.request("GET", INGRESSES)


async def test_the_context_decides_which_cluster(fake: FakeApi, kubeconfig: ConfigFile) -> None:
    async with fake_api() as other:
        cluster = {"name": "other", "cluster": {"server": other.url}}
        context = {"name": "other", "context": {"cluster": "other", "user": "fake"}}
        kubeconfig.edit(lambda config: (config["clusters"].append(cluster), config["contexts"].append(context)))
        async with using(Kubeconfig(kubeconfig.path, "other")) as api:
            await api.request("GET", INGRESSES)
        assert (len(other.requests), len(fake.requests)) == (1, 0)


# --- lines


async def test_lines_are_cut_where_they_end(fake: FakeApi, access: Access) -> None:
    async with using(access) as api:
        query = {"watch": "true", "resourceVersion": "100"}
        async with api.lines(INGRESSES, query, silence=DEADLINE, total=DEADLINE) as lines:
            fake.raw(b"one\ntwo")
            fake.raw(b"x" * 3_000_000)
            fake.raw(b"")
            fake.raw(b"four")
            assert [await anext(lines) for _ in range(5)] == [b"one", b"two", b"x" * 3_000_000, b"", b"four"]
            fake.end()
            with pytest.raises(StopAsyncIteration):
                await anext(lines)


async def test_silence_and_the_whole_time_end_it(fake: FakeApi, access: Access) -> None:
    query = {"watch": "true", "resourceVersion": "100"}
    async with using(access) as api:
        for limits in ({"silence": 0.05, "total": DEADLINE}, {"silence": DEADLINE, "total": 0.05}):
            with pytest.raises(ApiError) as caught:
                async with api.lines(INGRESSES, query, **limits) as lines:
                    await anext(lines)
            assert caught.value.status == NO_ANSWER
            assert caught.value.message


async def test_a_response_that_does_not_begin_is_given_up(
    kubeconfig: ConfigFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a watch may be silent once it is there."""
    monkeypatch.setattr(api_module, "READ_TIMEOUT", 0.1)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    silent = await asyncio.start_server(take, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    kubeconfig.edit(lambda config: config["clusters"][0]["cluster"].update(server=f"http://127.0.0.1:{port}"))
    async with silent, using(Kubeconfig(kubeconfig.path, "")) as api:
        with pytest.raises(ApiError, match="no answer in time"):
            async with api.lines(INGRESSES, {}, silence=DEADLINE, total=DEADLINE):
                pass


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="what timers a connection has is in /proc on Linux only")
async def test_the_kernel_asks_whether_a_silent_watch_is_still_there(fake: FakeApi, access: Access) -> None:
    """As field 5 of /proc/net/tcp says: a timer for keep-alive is 02, none 00 (proc(5))."""
    query = {"watch": "true", "resourceVersion": "100"}
    end = f"0100007F:{fake.port:04X}"

    def timers() -> set[str]:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return {fields[5].split(":")[0] for fields in lines if fields[2] == end and fields[3] == "01"}

    async with using(access) as api, api.lines(INGRESSES, query, silence=DEADLINE, total=DEADLINE):
        # Another one runs while data is not acknowledged.
        await eventually(lambda: timers() == {"02"}, "the connection is probed", explain=lambda: str(timers()))


async def test_a_connection_that_breaks_is_no_answer(fake: FakeApi, access: Access) -> None:
    query = {"watch": "true", "resourceVersion": "100"}
    async with using(access) as api:
        with pytest.raises(ApiError, match=r".") as caught:  # noqa: PT012 - the block is what is tested
            async with api.lines(INGRESSES, query, silence=DEADLINE, total=DEADLINE) as lines:
                fake.cut()
                await anext(lines)
        assert caught.value.status == NO_ANSWER


# --- many at once


class Slow:
    """Loads when it is let, and counts."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.loads = 0

    async def load(self) -> Configuration:
        self.loads += 1
        await asyncio.sleep(0)
        return await self._access.load()


async def test_all_who_are_refused_together_cause_one_load(fake: FakeApi, kubeconfig: ConfigFile) -> None:
    slow = Slow(Kubeconfig(kubeconfig.path, ""))
    async with using(slow) as api:
        await asyncio.gather(*(api.request("GET", INGRESSES) for _ in range(5)))
        assert slow.loads == 1
        fake.token = "another"
        kubeconfig.write("another")
        await asyncio.gather(*(api.request("GET", INGRESSES) for _ in range(5)))
        assert slow.loads == 2


class Broken:
    async def load(self) -> Configuration:
        raise AccessError("there is none")


async def test_without_a_configuration_there_is_no_answer() -> None:
    async with using(Broken()) as api:
        assert (await failure(api)).message == "there is none"
