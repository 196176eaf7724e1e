"""Who comes in: with which key, from which address, and how much the holder of that key may still ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api.http.errors import Denied, RateLimited
from api.http.guesses import GuessWatch
from api.http.keys import KeyRing
from api.http.rates import Allowances
from core.requests import Caller
from core.settings.guards import LimitSettings
from core.settings.keys import ApiKey, digest_key


class Gatekeeper:
    """Of one server. Belongs to its event loop."""

    def __init__(
        self, keys: Sequence[ApiKey] = (), limits: LimitSettings = LimitSettings(), spent: Mapping[str, int] = {}
    ) -> None:
        """`spent`: tokens of this day, by the names of keys, of before the start."""
        self.ring = KeyRing(keys)
        """Another one when the keys have changed."""
        self._guesses = GuessWatch()
        self.allowances = Allowances(keys, limits, spent)
        """To be told of the requests that have ended."""

    def identify(self, shown: bytes) -> Caller | None:
        """Whom a key stands for that was shown; None where another is asked for. Nobody is let in by that."""
        return self.ring.identify(shown)

    def change(self, keys: Sequence[ApiKey], spent: Mapping[str, int] = {}) -> None:
        """These are the keys from now on. `spent` as at the beginning."""
        self.ring = KeyRing(keys)
        self.allowances.change(keys, spent)

    def check(self, caller: Caller | None, shown: bytes, address: str) -> None:
        """Let in the `caller` that `identify` has made of the key.

        Raises Denied, in words that are the same for all wrong keys; RateLimited where too many wrong ones came from
        the address to look at one more.
        """
        if not self.ring.asks:
            return
        if not shown:
            told = "This server wants its key as `Authorization: Bearer KEY` or `x-api-key`."
            raise Denied(401, "missing_api_key", told)
        digest = digest_key(shown)
        if (delay := self._guesses.find_delay(address, digest)) > 0:
            raise RateLimited("Too many wrong API keys came from this address", "requests", delay)
        if caller is None:
            self._guesses.note_wrong(address)
            raise Denied(401, "invalid_api_key", "The API key is not this server's.")
        self._guesses.note_right(address, digest)
