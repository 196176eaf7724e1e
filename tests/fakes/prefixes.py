"""Prefixes whose state tells what it must be, so that a wrong answer of a cache shows."""

from __future__ import annotations

import hashlib

from core.cache.container import PrefixHeader
from core.cache.identity import ModelIdentity, owner_of
from core.cache.prefix import Tokens

IDENTITY = ModelIdentity("weights", "llamacpp", "1.2", "context 4096, f16")
OWNER = owner_of("", None)


def header_of(owner: str = OWNER, *, exact: bool = False, identity: ModelIdentity = IDENTITY) -> PrefixHeader:
    return PrefixHeader(identity, owner, "guide", exact)


def state_of(tokens: Tokens, size: int = 100, owner: str = OWNER) -> bytes:
    """`size` bytes that follow from the tokens and their owner."""
    return hashlib.shake_128(repr((owner, tokens)).encode()).digest(size)
