"""What may be forwarded, said once more, slowly and plainly: over (name, value) pairs instead of bytes."""

Fields = list[tuple[bytes, bytes]]

HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"http2-settings",
    b"te",
    b"transfer-encoding",
    b"upgrade",
}
REWRITTEN = {b"x-forwarded-for", b"x-real-ip", b"x-request-id"}
FORWARDED = {b"forwarded", b"x-scheme", b"x-original-forwarded-for"}
PROTECTED = {b"host", b"content-length", b"transfer-encoding", *REWRITTEN, *FORWARDED}


def named_in_connection(fields: Fields) -> set[bytes]:
    """The options of all Connection fields, in lower case."""
    lists = [value.lower().split(b",") for name, value in fields if name == b"connection"]
    return {option.strip(b" \t") for options in lists for option in options} - {b""}


def is_forwarded_field(name: bytes) -> bool:
    """Whether a field says on whose behalf a request is sent."""
    return name in FORWARDED or name in REWRITTEN or name.startswith(b"x-forwarded-")


def forwarded_request(fields: Fields, minor: int, trusted: bool, absolute_host: bytes | None) -> Fields:
    """The fields that go upstream, without the order of those that are written anew; names in lower case."""
    named = {name for name in named_in_connection(fields) if name not in PROTECTED and not is_forwarded_field(name)}
    kept: Fields = []
    for name, value in fields:
        if name in HOP_BY_HOP or name in named or b"_" in name or name in REWRITTEN:
            continue
        if is_forwarded_field(name) and not trusted:
            continue
        if name == b"host" and absolute_host is not None:
            continue
        if name == b"expect" and minor == 0:
            continue
        if name == b"content-length":
            value = b"%d" % int(value)
        kept.append((name, value))
    if absolute_host is not None:
        kept.append((b"host", absolute_host))
    elif b"host" not in dict(fields):
        kept.append((b"host", b""))
    upgrade = upgrade_wanted(fields) if minor else b""
    if upgrade:
        kept += [(b"connection", b"Upgrade"), (b"upgrade", upgrade)]
    elif any(name == b"te" and b"trailers" in value.lower() for name, value in fields):
        kept += [(b"connection", b"TE"), (b"te", b"trailers")]
    if b"transfer-encoding" in dict(fields):
        kept.append((b"transfer-encoding", b"chunked"))
    return sorted(kept)


def upgrade_wanted(fields: Fields) -> bytes:
    """The protocol that a request may change to, empty for none."""
    offers = [value for name, value in fields if name == b"upgrade" and b"h2c" not in value.lower()]
    return offers[-1] if offers and b"upgrade" in named_in_connection(fields) else b""


def forwarded_response(fields: Fields) -> Fields:
    """The fields that go downstream, but for framing."""
    named = {name for name in named_in_connection(fields) if name not in PROTECTED and not is_forwarded_field(name)}
    dropped = HOP_BY_HOP | named | {b"content-length"}
    return sorted((name, value) for name, value in fields if name not in dropped)


NOT_IN_TRAILERS = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"authorization",
    b"cookie",
    b"set-cookie",
    b"content-type",
    b"content-encoding",
    b"content-range",
    b"trailer",
}


def forwarded_trailers(fields: Fields) -> Fields:
    """The trailers that go on."""
    return [
        (name, value)
        for name, value in fields
        if name not in NOT_IN_TRAILERS and b"_" not in name and not is_forwarded_field(name)
    ]
