"""The HTTP/1.1 message codec, without IO: bytes <-> heads and bodies, framing rules, limits.

Strict on purpose: what two implementations could read differently is refused, never repaired. `fields` scans field
lines, `head` start lines, and writes heads anew; `chunked` is bodies in chunks, `body` all kinds of them; `grammar` has
the tables and limits, `errors` the one exception.
"""

from ingressd.http1.body import Body
from ingressd.http1.chunked import ChunkedDecoder, encode_chunk, encode_last_chunk
from ingressd.http1.errors import FramingError
from ingressd.http1.fields import Trailers
from ingressd.http1.head import RequestHead, ResponseHead
from ingressd.http1.host import valid_host

__all__ = [
    "Body",
    "ChunkedDecoder",
    "FramingError",
    "RequestHead",
    "ResponseHead",
    "Trailers",
    "encode_chunk",
    "encode_last_chunk",
    "valid_host",
]
