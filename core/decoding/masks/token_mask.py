"""The mask of one choice of a request: which tokens may come next, and what was taken of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from core.decoding.masks.library import is_refusal
from core.errors import RequestError

if TYPE_CHECKING:
    from llguidance import LLMatcher

MASK_SECONDS: Final = 0.005
"""Of the processor that a token's masks may take on the whole. All other answers wait for them."""
CREDIT_SECONDS: Final = 0.1
"""That masks may be behind that, for a few that cost more. Most cost a tenth of a millisecond; but the library bounds
what a mask makes, and not what it looks at, so that in ambiguous grammars some take a hundred."""


class AnswerMask(Protocol):
    """What one choice may write. Belongs to one thread at a time; see `TokenMask`."""

    def copy(self) -> AnswerMask: ...

    @property
    def complete(self) -> bool: ...

    def follow(self, draft: Sequence[int]) -> tuple[list[int], tuple[bytes, ...]]: ...

    def take(self, token: int) -> None: ...


class TokenMask:
    """Follows the text of one choice. Belongs to one thread at a time."""

    def __init__(
        self,
        matcher: LLMatcher,
        field: str,
        note_slow: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`field` is the wire name of what asks for the form, which errors name; `note_slow` is called when masks took
        too long; `clock` tells the seconds of the processor that the thread has taken."""
        self._matcher = matcher
        self._field = field
        self._note_slow = note_slow
        self._clock = clock
        self._credit = CREDIT_SECONDS

    def copy(self) -> TokenMask:
        """Another one at the same place, which goes its own way."""
        return TokenMask(self._matcher.deep_copy(), self._field, self._note_slow, self._clock)

    @property
    def complete(self) -> bool:
        """Whether the text is whole and nothing may follow it."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def follow(self, draft: Sequence[int]) -> tuple[list[int], tuple[bytes, ...]]:
        """As much of the draft as is allowed, and masks: one for the token that is due, and one behind each guess.

        Bit i % 8 of byte i // 8 of a mask tells whether token i is allowed; tokens beyond its end are not. Ends of
        generation are allowed where the text is whole. Raises RequestError where the form is too complex to go on, or
        its masks take too long.
        """
        if self._credit < 0:
            self._note_slow()
            raise RequestError(
                f"What `{self._field}` asks for takes too long to follow, and others wait for it; make it simpler.",
                self._field,
            )
        began = self._clock()
        try:
            return self._follow(draft)
        finally:
            self._credit -= self._clock() - began

    def _follow(self, draft: Sequence[int]) -> tuple[list[int], tuple[bytes, ...]]:
        masks = [self._next()]
        kept: list[int] = []
        for guess in draft[: self._matcher.validate_tokens(list(draft))] if draft else ():
            self._matcher.consume_token(guess)
            if self._matcher.is_stopped():
                # Behind the end of the text there is no place to draw from.
                self._matcher.rollback(1)
                break
            kept.append(guess)
            masks.append(self._next())
        if kept:
            self._matcher.rollback(len(kept))
        return kept, tuple(masks)

    def take(self, token: int) -> None:
        """The token was drawn. Raises RequestError where it is none of those allowed, or leads to where the form is too
        complex to go on."""
        began = self._clock()
        taken = self._matcher.consume_token(token)
        self._credit = min(CREDIT_SECONDS, self._credit + MASK_SECONDS - (self._clock() - began))
        if taken:
            return
        if is_refusal(self._matcher.get_error()):
            raise RequestError(f"No token that `{self._field}` allows could be drawn.", self._field)
        raise self._too_complex()

    def _next(self) -> bytes:
        mask = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise self._too_complex()
        return mask

    def _too_complex(self) -> RequestError:
        return RequestError(
            f"What `{self._field}` asks for became too complex to follow; make it simpler.", self._field
        )
