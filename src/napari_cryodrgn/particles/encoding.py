"""Text of other programs' files, whose paths are not always UTF-8."""

from __future__ import annotations


def encode(text: str) -> bytes:
    """Bytes of text; what was no UTF-8 (old paths) comes back as it was."""
    return text.encode("utf-8", "surrogateescape")


def decode(raw: bytes) -> str:
    """Text of bytes; those that are no UTF-8 survive as surrogates."""
    return raw.decode("utf-8", "surrogateescape")
