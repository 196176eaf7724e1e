"""Prefixes whose state tells what it must be, so that a wrong answer of a cache shows."""

from __future__ import annotations

import hashlib

from core.cache.container import PrefixHeader
from core.cache.identity import ModelIdentity, digest_owner
from core.cache.prefix import Tokens

IDENTITY = ModelIdentity("weights", "llamacpp", "1.2", "context 4096, f16")
OWNER = digest_owner("", None)


def header_of(
    owner: str = OWNER, *, cuts: tuple[int, ...] | None = None, identity: ModelIdentity = IDENTITY
) -> PrefixHeader:
    return PrefixHeader(identity, owner, "guide", cuts)


def state_of(tokens: Tokens, size: int = 100, owner: str = OWNER) -> bytes:
    """`size` bytes that follow from the tokens and their owner."""
    return hashlib.shake_128(repr((owner, tokens)).encode()).digest(size)


WRITER = """
import sys
from itertools import count
from pathlib import Path
from core.cache.disk import DiskTier
from tests.fakes.prefixes import header_of, state_of, written_tokens

size = int(sys.argv[3])
tier = DiskTier(Path(sys.argv[1]), 20 * size)
print("ready", flush=True)
for number in count(int(sys.argv[2])):
    tokens = written_tokens(number)
    tier.write(header_of(), tokens, state_of(tokens, size))
"""
"""A program that writes prefixes until it is killed; its arguments are folder, first number and bytes of a state."""


def written_tokens(number: int) -> Tokens:
    """The prefix that `WRITER` writes under a number."""
    return (number, *range(40))
