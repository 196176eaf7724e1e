"""Which model, run how, computed a stored prefix: the state of one is worthless to every other."""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct


class ModelIdentity(Struct, frozen=True):
    """Two models with the same identity compute the same state from the same tokens."""

    weights: str
    """Fingerprint of the model's files."""
    engine: str
    version: str
    """Of the engine: the bytes of a state may change with each release."""
    settings: str
    """Context and parameters of the KV cache, in words."""
    adapters: str = ""
    """Fingerprints of the adapters and how much of each is added; empty without any."""

    @property
    def digest(self) -> str:
        """A name for files and indexes, 32 hexadecimal digits."""
        return digest_bytes(msgspec.json.encode(self))


def digest_owner(tenant: str, salt: str | None) -> str:
    """Who may reuse an entry, as 32 hexadecimal digits: a tenant, further divided by the salt of its requests."""
    return digest_bytes(msgspec.json.encode((tenant, salt)))


def digest_bytes(data: bytes) -> str:
    """32 hexadecimal digits of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
