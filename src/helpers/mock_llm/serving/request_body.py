"""A request's body: read to its end, and decompressed, within limits."""

from __future__ import annotations

import asyncio
import gzip
import io
import zlib
from collections.abc import Mapping

from helpers.mock_llm.asgi import ClientDisconnectError, Headers, Receive
from helpers.mock_llm.serving import errors

# Bytes, both as sent and decompressed.
_MAX_BODY = 32 * 1024 * 1024
_BODY_SECONDS = 60.0
# zlib's ``wbits`` for each format.
_ZLIB, _RAW_DEFLATE = 15, -15
# RFC 1952: what a member of a gzip file begins with, and more members than any client sends. A
# body of empty ones would take a minute.
_MEMBER, _MAX_MEMBERS = b"\x1f\x8b\x08", 1_000
# Headers that RFC 9110, section 5.3, allows to be given in several lines.
_LISTS = (b"content-encoding", b"anthropic-beta")


def joined(headers: Headers) -> dict[bytes, bytes]:
    """Headers by name: lists in one, and of others the last."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        listed = name in _LISTS and name in found
        found[name] = b"%b, %b" % (found[name], value) if listed else value
    return found


async def read_body(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    """The decompressed body. Raises ClientDisconnectError, and ApiError for a body that is too
    large, takes too long, or has an encoding that is not supported."""
    if _announced_length(headers) > _MAX_BODY:
        refusal = errors.body_too_large(_MAX_BODY)
        refusal.headers = ((b"connection", b"close"),)  # the body, which is not read, may follow
        raise refusal
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnectError
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await _read_rest(body, receive)
        except TimeoutError:
            raise errors.body_too_slow(_BODY_SECONDS) from None
    encoding = headers.get(b"content-encoding")
    return body if encoding is None else _decompress(body, encoding.strip().lower())


def _announced_length(headers: Mapping[bytes, bytes]) -> int:
    """That of a client which waits to be asked for its body; for others reading tells."""
    waits = headers.get(b"expect", b"").lower() == b"100-continue"
    return int(headers.get(b"content-length", b"0")) if waits else 0


async def _read_rest(body: bytes, receive: Receive) -> bytes:
    parts, size, more = [body], len(body), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MAX_BODY:
            raise errors.body_too_large(_MAX_BODY)
        more = message.get("more_body", False)
    return b"".join(parts)


def _decompress(body: bytes, encoding: bytes) -> bytes:
    match encoding:
        case b"" | b"identity":
            return body
        case b"gzip" | b"x-gzip":
            decompress = _gunzip
        case b"deflate":
            decompress = _inflate
        case _:
            raise errors.unsupported_encoding(encoding.decode("latin-1"))
    try:
        plain = decompress(body)
    except (zlib.error, gzip.BadGzipFile, EOFError):
        raise errors.broken_encoding(encoding.decode()) from None
    if len(plain) > _MAX_BODY:
        raise errors.body_too_large(_MAX_BODY)
    return plain


def _gunzip(body: bytes) -> bytes:
    if not body or body.count(_MEMBER) > _MAX_MEMBERS:
        raise EOFError
    with gzip.open(io.BytesIO(body)) as file:
        return file.read(_MAX_BODY + 1)


def _inflate(body: bytes) -> bytes:
    # Some clients leave out the zlib header that RFC 9110 asks for.
    format = _ZLIB if body[:1] and body[0] & 0x0F == zlib.DEFLATED else _RAW_DEFLATE
    decompressor = zlib.decompressobj(format)
    plain = decompressor.decompress(body, _MAX_BODY + 1)
    if len(plain) <= _MAX_BODY and (not decompressor.eof or decompressor.unused_data):
        raise EOFError
    return plain
