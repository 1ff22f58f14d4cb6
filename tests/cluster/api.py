"""A small client of the Kubernetes API for tests: objects are the dictionaries that their JSON is."""

import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import yaml

Object = dict[str, Any]
SECONDS = 30.0
"""For one request, but for watches, which have no limit."""

_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class ApiError(Exception):
    """The API server refused. `status` is that of HTTP, `reason` the word of the API: Forbidden, Conflict, Expired."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class _Kind(NamedTuple):
    prefix: str
    resource: str
    namespaced: bool
    verbs: frozenset[str]


class Page(NamedTuple):
    """Of a list. `more` is the token that asks for the next page, or empty."""

    items: list[Object]
    resource_version: str
    more: str


class Event(NamedTuple):
    """Of a watch. `kind` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR; with ERROR the object is a Status."""

    kind: str
    object: Object


def objects(text: str) -> list[Object]:
    """The objects in YAML documents."""
    return [document for document in yaml.safe_load_all(text) if document]


class Api:
    """Use it within its block. A kind is named as `Ingress`, or with its group and version as `events.k8s.io/v1/Event`;
    without them it is that of the core group first, in the preferred version. Where a namespace is None, that of this
    client is meant; "" is all namespaces. All methods raise ApiError, and aiohttp.ClientError if nobody answers."""

    def __init__(self, url: str, context: ssl.SSLContext, authorization: str = "", namespace: str = "default") -> None:
        """`authorization` is a header field: `Bearer` with a token; empty if the certificate of `context` is enough."""
        self.url = url
        self.namespace = namespace
        self._headers = {"Authorization": authorization} if authorization else {}
        self._ssl = context
        self._kinds: dict[str, _Kind] = {}

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=0)
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    # --- objects

    async def create(self, value: Object) -> Object:
        """POST; the object as it was stored."""
        return await self.request("POST", await self._path(_kind(value), self._namespace(value)), value)

    async def apply(self, value: Object | str, *, dry_run: bool = False) -> list[Object]:
        """Server-side apply of one object, or of those in a YAML text, by force; the objects as they are then."""
        query = {"fieldManager": "tests", "force": "true", **({"dryRun": "All"} if dry_run else {})}
        return [
            await self.request("PATCH", await self._path_of(item), item, query=query, content=_APPLY)
            for item in (objects(value) if isinstance(value, str) else [value])
        ]

    async def replace(self, value: Object, sub: str = "") -> Object:
        """PUT: needs the resourceVersion that was read."""
        return await self.request("PUT", await self._path_of(value, sub), value)

    async def patch(self, kind: str, name: str, patch: Object, namespace: str | None = None, sub: str = "") -> Object:
        """A JSON merge patch; `sub` is the subresource, as in `status`."""
        return await self.request("PATCH", await self._path(kind, namespace, name, sub), patch, content=_MERGE)

    async def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        return await self.request("GET", await self._path(kind, namespace, name))

    async def delete(self, kind: str, name: str, namespace: str | None = None) -> None:
        await self.request("DELETE", await self._path(kind, namespace, name))

    async def list(self, kind: str, namespace: str | None = None, **query: str) -> Page:
        """One page, which is all unless `limit` is given. Other parameters: `labelSelector`, `fieldSelector`,
        `continue`, `resourceVersion`, `resourceVersionMatch`."""
        answer = await self.request("GET", await self._path(kind, namespace), query=query)
        metadata = answer["metadata"]
        return Page(answer["items"], metadata["resourceVersion"], metadata.get("continue", ""))

    async def watch(self, kind: str, namespace: str | None = None, **query: str) -> AsyncGenerator[Event, None]:
        """Events until the API server ends the watch. Parameters: `resourceVersion`, `fieldSelector`, `timeoutSeconds`,
        `allowWatchBookmarks`. Close the iterator (contextlib.aclosing) to end it before."""
        query = {"watch": "true", **query}
        url, timeout = self.url + await self._path(kind, namespace), aiohttp.ClientTimeout()
        async with self._session.get(url, params=query, timeout=timeout) as response:
            await _refused(response)
            rest = b""
            async for data in response.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    yield Event(event["type"], event["object"])

    # --- service accounts and namespaces

    async def token(self, account: str, namespace: str | None = None, seconds: int = 3600) -> str:
        """A token of a service account by TokenRequest; the API server gives none for less than 600 s."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        answer = await self.request("POST", await self._path("ServiceAccount", namespace, account, "token"), body)
        return str(answer["status"]["token"])

    async def delete_namespace(self, name: str) -> None:
        """Deletes a namespace with all in it, in place of the controller manager, which does that in a whole cluster;
        where there is one, both do."""
        await self.delete("Namespace", name)
        await self._discover()
        for kind in {kind for kind in self._kinds.values() if kind.namespaced and "deletecollection" in kind.verbs}:
            await self.request("DELETE", f"{kind.prefix}/namespaces/{name}/{kind.resource}")
        while True:
            try:
                value = await self.get("Namespace", name)
                value["spec"]["finalizers"] = []
                await self.replace(value, "finalize")
            except ApiError as error:
                if error.reason == "NotFound":
                    return
                if error.reason != "Conflict":
                    raise

    # --- requests

    async def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """One request; `path` as in `/readyz`. An answer that is no JSON object is {}."""
        headers = {"Accept": accept, **({"Content-Type": content} if body is not None else {})}
        data = None if body is None else json.dumps(body).encode()
        async with self._session.request(method, self.url + path, params=query, data=data, headers=headers) as response:
            await _refused(response)
            if response.content_type != "application/json":
                return {}
            answer: Object = await response.json()
            return answer

    async def _path_of(self, value: Object, sub: str = "") -> str:
        return await self._path(_kind(value), self._namespace(value), value["metadata"]["name"], sub)

    def _namespace(self, value: Object) -> str:
        return str(value["metadata"].get("namespace", self.namespace))

    async def _path(self, kind: str, namespace: str | None = None, name: str = "", sub: str = "") -> str:
        if kind not in self._kinds:
            await self._discover()
        found = self._kinds.get(kind)
        if found is None:
            raise ApiError(404, "NotFound", f"the API server has no kind {kind}")
        if namespace is None:
            namespace = self.namespace
        scope = ("namespaces", namespace) if found.namespaced and namespace else ()
        return "/".join(part for part in (found.prefix, *scope, found.resource, name, sub) if part)

    async def _discover(self) -> None:
        for root in ("/api", "/apis"):
            answer = await self.request("GET", root, accept=_DISCOVERY)
            for group in answer["items"]:
                name = group["metadata"].get("name", "")
                for version in group["versions"]:
                    full = f"{name}/{version['version']}" if name else version["version"]
                    for resource in version.get("resources", ()):
                        kind = _Kind(
                            f"{root}/{full}",
                            resource["resource"],
                            resource["scope"] == "Namespaced",
                            frozenset(resource["verbs"]),
                        )
                        self._kinds[f"{full}/{resource['responseKind']['kind']}"] = kind
                        self._kinds.setdefault(resource["responseKind"]["kind"], kind)


def _kind(value: Object) -> str:
    return f"{value['apiVersion']}/{value['kind']}"


async def _refused(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        text = await response.text()
        status = json.loads(text) if response.content_type == "application/json" else {}
        raise ApiError(response.status, status.get("reason", response.reason or ""), status.get("message", text))
