"""A model's own heads guess ahead (multi-token prediction), alone or where nothing is copied."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from msgspec.structs import replace

from core.contract.models import AheadWish, PredictsAhead
from core.decoding.lookup import PromptLookup
from core.decoding.speculate import FIRM_TOKENS, MTP, PROMPT_LOOKUP, GuessWish
from core.errors import EngineError
from core.telemetry.log import get_logger

RUN_TOKENS = 4
"""What a guess of heads goes by counts as a run so long, so that they make so many at most. It is the same for all:
then how likely guesses come true is told by their position."""
log = get_logger(__name__)


class MtpDraft:
    """Guesses with the heads of the model that verifies them; they are freed with it."""

    name = MTP
    promised = 0
    reading = False

    def __init__(self, model: PredictsAhead) -> None:
        self._model = model
        self._run = min(RUN_TOKENS, model.most_ahead or RUN_TOKENS)

    def weigh(self, wishes: Sequence[GuessWish]) -> list[int]:
        return [self._run if wish.sequence is not None else 0 for wish in wishes]

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        asked = [
            AheadWish(wish.sequence, wish.tokens[-1], wish.most)
            for wish in wishes
            if wish.sequence is not None and wish.most > 0
        ]
        found = iter(self._model.guess_ahead(asked) if asked else ())
        return [next(found) if wish.sequence is not None and wish.most > 0 else [] for wish in wishes]

    def forget(self, wish: GuessWish) -> None:
        """Nothing is kept of a sequence here."""

    def shutdown(self) -> None:
        """The model frees its heads."""


class LookupOrMtp:
    """Looks up what is copied, which costs next to nothing and goes far; for the rest there are the heads. Where these
    fail, it looks up alone."""

    promised = 0

    def __init__(self, heads: MtpDraft) -> None:
        self._lookup = PromptLookup()
        self._heads: MtpDraft | None = heads
        self._copied: set[Hashable] = set()
        """Sequences that copied a text when they were weighed last."""

    @property
    def name(self) -> str:
        return f"{PROMPT_LOOKUP}, {MTP}" if self._heads is not None else PROMPT_LOOKUP

    @property
    def reading(self) -> bool:
        return self._lookup.reading

    def weigh(self, wishes: Sequence[GuessWish]) -> list[int]:
        runs = self._lookup.weigh(wishes)
        if self._heads is None:
            self._copied = {wish.key for wish in wishes}
            return runs
        # Shorter ones are mostly chance, and the heads know better.
        self._copied = {wish.key for wish, run in zip(wishes, runs, strict=True) if run >= FIRM_TOKENS}
        return [run if run >= FIRM_TOKENS else own for run, own in zip(runs, self._heads.weigh(wishes), strict=True)]

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        own = self._ask_heads([replace(wish, most=0) if wish.key in self._copied else wish for wish in wishes])
        found = self._lookup.propose([wish for wish in wishes if wish.key in self._copied])
        copies = iter(found)
        return [next(copies) if wish.key in self._copied else own[index] for index, wish in enumerate(wishes)]

    def _ask_heads(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        if self._heads is not None:
            try:
                return self._heads.propose(wishes)
            except EngineError as error:
                log.warning("heads that guess ahead failed, and prompt lookup goes on alone", why=str(error))
                self._heads = None
        return [[] for _ in wishes]

    def forget(self, wish: GuessWish) -> None:
        self._lookup.forget(wish)

    def shutdown(self) -> None:
        self._lookup.shutdown()
