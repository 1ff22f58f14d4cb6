from collections.abc import Callable
from ssl import SSLContext

from locust import RequestEvent, User

class FastHttpSession:
    def __init__(
        self,
        *,
        base_url: str,
        request_event: RequestEvent,
        user: User,
        insecure: bool,
        ssl_context_factory: Callable[[str], SSLContext],
        **more: object,
    ) -> None: ...
    def request(
        self,
        method: str,
        url: str,
        name: str,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        allow_redirects: bool = True,
    ) -> object: ...
