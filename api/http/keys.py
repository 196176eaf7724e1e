"""The keys that open the server, and whom each of them stands for."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from core.requests import Caller
from core.settings.keys import ApiKey, digest_key, name_tenant


def find_key(headers: Mapping[bytes, bytes]) -> bytes:
    """The key of `Authorization: Bearer` or `x-api-key`, or b""."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" and token else headers.get(b"x-api-key", b"")


class KeyRing:
    """Without keys, anybody may do anything."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = keys

    @property
    def asks(self) -> bool:
        """Whether a client must show a key."""
        return bool(self._keys)

    def identify(self, shown: bytes) -> Caller | None:
        """Whom a key stands for that was shown; None where another is asked for.

        Takes as long for any: all keys are compared, by digests, whose first differing byte tells nothing of the keys.
        """
        digest = digest_key(shown)
        if not self._keys:
            return Caller(tenant=name_tenant(digest) if shown else "")
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.caller
        return found
