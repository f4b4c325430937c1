"""A request's body: read to its end, and decompressed, within limits."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping

from helpers.mock_llm.asgi import ClientDisconnectError, Receive
from helpers.mock_llm.serving import errors

# Bytes, both as sent and decompressed.
_MAX_BODY = 32 * 1024 * 1024
_BODY_SECONDS = 60.0
# zlib's ``wbits`` for each format.
_GZIP, _ZLIB, _RAW_DEFLATE = 31, 15, -15


async def read_body(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    """The decompressed body. Raises ClientDisconnectError, and ApiError for a body that is too
    large, takes too long, or has an encoding that is not supported."""
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
            format = _GZIP
        case b"deflate":
            # Some clients leave out the zlib header that RFC 9110 asks for.
            format = _ZLIB if body[:1] and body[0] & 0x0F == zlib.DEFLATED else _RAW_DEFLATE
        case _:
            raise errors.unsupported_encoding(encoding.decode("latin-1"))
    decompressor = zlib.decompressobj(format)
    try:
        plain = decompressor.decompress(body, _MAX_BODY + 1)
    except zlib.error:
        raise errors.broken_encoding(encoding.decode()) from None
    if len(plain) > _MAX_BODY:
        raise errors.body_too_large(_MAX_BODY)
    if not decompressor.eof or decompressor.unused_data:
        raise errors.broken_encoding(encoding.decode())
    return plain
