"""Counting tokens as the provider does: the names of `model.tokens` that lessons use."""

from helpers.mock_llm.model.tokens import (
    count_prompt_tokens,
    decode_bytes,
    encode,
    encoding,
    offer,
)

__all__ = ["count_prompt_tokens", "decode_bytes", "encode", "encoding", "offer"]
