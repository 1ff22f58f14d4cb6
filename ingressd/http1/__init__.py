"""The HTTP/1.1 message codec, without IO: bytes <-> heads and bodies, framing rules, limits.

Strict on purpose: what two implementations could read differently is refused, never repaired."""
