"""How much each key may ask, and all clients together: what is left of it, and when there is more.

Requests and tokens of a minute come back evenly, as water runs into a bucket; those of a day come back at midnight.
Tokens are known when a request has ended, so one that is let in may overdraw what is left, and the next ones wait.
All of it belongs to the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from api.http.errors import RateLimited
from api.http.rate_headers import RateState
from core.serving.report import RequestReport
from core.settings.guards import LimitSettings
from core.settings.keys import ApiKey, KeyLimits

ALLOWANCE: Final = "allowance"
"""Where a request's state holds its caller's allowance."""
MINUTE_SECONDS: Final = 60.0
NEGLIGIBLE_SHARE: Final = 1e-3
"""Of a request or a token: what sums of fractions may be amiss by."""

Clock = Callable[[], float]
LocalTime = Callable[[], datetime]


class Bucket:
    """What a minute may take. Begins full."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._then = clock()

    def measure(self) -> float:
        """What is left; less than nothing where more was taken than there was."""
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._then) * self.per_minute / MINUTE_SECONDS)
        self._then = now
        return self._level

    def take(self, amount: int) -> None:
        self._level = self.measure() - amount

    def wait(self, amount: float) -> float:
        """Seconds until so much is there; zero where it is."""
        missing = amount - self.measure()
        return missing * MINUTE_SECONDS / self.per_minute if missing > NEGLIGIBLE_SHARE else 0.0

    def describe(self) -> RateState:
        level = self.measure()
        return RateState(self.per_minute, max(0, int(level)), self.wait(self.per_minute))


class DayCount:
    """Tokens of this day, by the clock of this machine."""

    def __init__(self, per_day: int, local: LocalTime, spent: int = 0) -> None:
        self.per_day = per_day
        self._local = local
        self._day = local().date()
        self._spent = spent

    @property
    def spent(self) -> int:
        self._turn()
        return self._spent

    def take(self, amount: int) -> None:
        self._turn()
        self._spent += amount

    def describe(self) -> RateState:
        self._turn()
        now = self._local()
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
        return RateState(self.per_day, max(0, self.per_day - self._spent), (midnight - now).total_seconds())

    def _turn(self) -> None:
        if (today := self._local().date()) != self._day:
            self._day, self._spent = today, 0


class Allowance:
    """What one key may still ask, or who asks without one."""

    def __init__(
        self,
        limits: KeyLimits = KeyLimits(),
        everybody: Bucket | None = None,
        *,
        clock: Clock = time.monotonic,
        local: LocalTime = lambda: datetime.now().astimezone(),
        spent: int = 0,
    ) -> None:
        """`everybody`: what all keys share; `spent`: tokens of this day, of before the start."""
        self._everybody = everybody
        self._clock = clock
        self._local = local
        self._requests = Bucket(limits.requests_per_minute, clock) if limits.requests_per_minute else None
        self._tokens = Bucket(limits.tokens_per_minute, clock) if limits.tokens_per_minute else None
        self._day = DayCount(limits.tokens_per_day, local, spent) if limits.tokens_per_day else None
        self._at_once = limits.requests_at_once
        self._running = 0

    @contextmanager
    def admit(self, *, steering: bool = False) -> Iterator[None]:
        """A request runs inside; one that is `steering` others comes beside as many as there may be at once. Raises
        RateLimited, and then nothing is taken."""
        self._check(steering=steering)
        for bucket in (self._requests, self._everybody):
            if bucket is not None:
                bucket.take(1)
        with self.occupy():
            yield

    @contextmanager
    def occupy(self) -> Iterator[None]:
        """What goes on inside counts as a request that runs, whose admission has been asked for already."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def change(self, limits: KeyLimits, spent: int) -> None:
        """The key has these limits from now on. What is counted for a limit that stays as it was goes on; another one
        begins full, but for the tokens of this day. `spent`: those of them that are known of elsewhere."""
        self._requests = _change_bucket(self._requests, limits.requests_per_minute, self._clock)
        self._tokens = _change_bucket(self._tokens, limits.tokens_per_minute, self._clock)
        if self._day is None or self._day.per_day != limits.tokens_per_day:
            known = spent if self._day is None else self._day.spent
            self._day = DayCount(limits.tokens_per_day, self._local, known) if limits.tokens_per_day else None
        self._at_once = limits.requests_at_once

    def charge(self, tokens: int) -> None:
        """Of a request that has ended."""
        for count in (self._tokens, self._day):
            if count is not None:
                count.take(tokens)

    def describe(self) -> dict[str, RateState]:
        """What is left of requests and of tokens, where there is a limit; the lesser of two limits."""
        requests = [bucket.describe() for bucket in (self._requests, self._everybody) if bucket is not None]
        tokens = [count.describe() for count in (self._tokens, self._day) if count is not None]
        told = {"requests": requests, "tokens": tokens}
        return {what: min(states, key=lambda state: state.remaining) for what, states in told.items() if states}

    def _check(self, *, steering: bool) -> None:
        """Raises RateLimited."""
        if not steering and self._at_once is not None and self._running >= self._at_once:
            told = f"This API key may have {self._at_once} requests at once, and so many are under way"
            raise RateLimited(told, "requests", 1)
        if self._requests is not None and (wait := self._requests.wait(1)) > 0:
            raise RateLimited(f"This API key may send {self._requests.per_minute} requests a minute", "requests", wait)
        if self._tokens is not None and (wait := self._tokens.wait(1)) > 0:
            raise RateLimited(f"This API key may use {self._tokens.per_minute} tokens a minute", "tokens", wait)
        if self._day is not None and (day := self._day.describe()).remaining == 0:
            raise RateLimited(f"This API key may use {day.limit} tokens a day", "tokens", day.reset)
        if self._everybody is not None and (wait := self._everybody.wait(1)) > 0:
            told = f"This server takes {self._everybody.per_minute} requests a minute from all its clients together"
            raise RateLimited(told, "requests", wait)


class Allowances:
    """Of all keys. An `Observer` of the workbench's requests."""

    def __init__(
        self,
        keys: Sequence[ApiKey],
        settings: LimitSettings,
        spent: Mapping[str, int] = {},
        clock: Clock = time.monotonic,
    ) -> None:
        """`spent`: tokens of this day, by the names of keys, of before the start."""
        limit = settings.requests_per_minute
        self._everybody = Bucket(limit, clock) if limit else None
        self._clock = clock
        self._keyless = Allowance(everybody=self._everybody, clock=clock)
        self._by_name: dict[str, Allowance] = {}
        self.change(keys, spent)

    def change(self, keys: Sequence[ApiKey], spent: Mapping[str, int]) -> None:
        """These are the keys from now on; those that there were go on with what is left to them."""
        before, self._by_name = self._by_name, {}
        for key in keys:
            name, used = key.caller.name, spent.get(key.caller.name, 0)
            allowance = before.get(name)
            if allowance is None:
                allowance = Allowance(key.limits, self._everybody, clock=self._clock, spent=used)
            else:
                allowance.change(key.limits, used)
            self._by_name[name] = allowance

    def find(self, name: str) -> Allowance:
        """Of a key by its name; of who has none otherwise."""
        return self._by_name.get(name, self._keyless)

    def note_end(self, report: RequestReport) -> None:
        self.find(report.caller.name).charge(report.usage.prompt_tokens + report.usage.completion_tokens)


def _change_bucket(bucket: Bucket | None, per_minute: int | None, clock: Clock) -> Bucket | None:
    if bucket is not None and bucket.per_minute == per_minute:
        return bucket
    return Bucket(per_minute, clock) if per_minute else None


def find_allowance(state: Mapping[str, object]) -> Allowance:
    """Of a request that has passed the guard."""
    allowance = state[ALLOWANCE]
    assert isinstance(allowance, Allowance)
    return allowance
