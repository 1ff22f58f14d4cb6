"""What is wrong with a message. Its side decides what that means: 4xx for a client, 502 for an upstream."""


class FramingError(Exception):
    """A message that cannot be forwarded. After it, the connection it came on must be closed.

    `status` is what a client that sent it is answered with. `reason` is one word for logs and metrics; `detail` one
    sentence for a person, without any bytes of the message.
    """

    def __init__(self, detail: str, status: int = 400, reason: str = "bad_request") -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
