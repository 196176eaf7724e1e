"""Who may hold which part of a model's KV cache: reservations, shared prefixes, residents, preemption.

Belongs to the loop's thread, as the model does.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import Struct

from core.cache.ledger import Ledger
from core.cache.model_prefixes import ModelPrefixes
from core.cache.prefix_index import StoredMatch
from core.cache.resident import Residents
from core.contract.models import Marks, TokenModel, Trims
from core.contract.step import SequenceId
from core.decoding.common_prefix import count_common
from core.errors import EngineError
from core.models.fit.sizing import SLOT_SHARE
from core.reuse import CacheStats, Cause, Tier
from core.serving.kv_backup import KvBackup
from core.serving.sequence import ServedChoice, cut_length
from core.telemetry.log import get_logger

log = get_logger(__name__)
OPTIMISTIC_CELLS = 64
"""Cells reserved at a time for a request that names no `max_tokens`."""
MOST_PROMISED_CELLS = SLOT_SHARE
"""Cells promised to one request beyond those that it claims. Coding agents ask for the whole context with each request
and use little of it: more would let one of them run at a time. Who writes more takes what is free, or its turn."""
WORTH_WAITING_TOKENS = 32
"""Tokens that must be saved before a request waits for another's prefill to share it."""
IDLE_TOKENS = 128
"""Tokens that may be computed beside a finished sequence before it leaves cells that every pass looks at. On a 0.5 B
model a token takes 0.4 us longer for each such cell, and to store and restore one takes 5."""
UNSAVED_IDLE_TOKENS = 1024
"""The same for one that must be stored first, which running streams feel as a pause."""


class Shared(Struct, frozen=True):
    """A live sequence whose first `length` tokens a new one can begin with."""

    sequence: SequenceId
    length: int


class KvMemory:
    """Places choices in the KV cache and takes them out again.

    Invariants: cells in use plus all claims never exceed the model's cells, so a claimed token always finds its cell.
    Nor do they with all promises, were all residents evicted: what is promised can be claimed when its turn comes, and
    no resident makes way for tokens that are asked for and may never be drawn.
    """

    def __init__(
        self,
        model: TokenModel,
        running: Sequence[ServedChoice],
        past: CacheStats = CacheStats(),
        prefixes: ModelPrefixes | None = None,
        arrived: Callable[[], None] = lambda: None,
    ) -> None:
        """`past` are the statistics of the memory that this one follows; its totals go on. `prefixes` keep what leaves
        the KV cache; `arrived` is told, from any thread, when one that was waited for has been read."""
        self._past = past
        self._prefixes = prefixes
        self._arrived = arrived
        self._backup = KvBackup(model, prefixes)
        self._model = model
        self._grain = model.spec.grain
        self._running = running
        self._ledger = Ledger()
        self._residents = Residents()
        self._claims = self._promises = 0
        self.short = False
        """Whether the last choice that was not placed lacked cells or a sequence."""
        self._lookups = self._hits = self._prompt_tokens = self._evictions = 0
        self._reused: Counter[Tier] = Counter()
        self._lost: Counter[Cause] = Counter()

    @property
    def free(self) -> int:
        """Cells neither in use nor claimed."""
        return self._model.spec.cells - self._ledger.used - self._claims

    def place(self, choice: ServedChoice) -> bool:
        """Give the choice a sequence that begins with the longest known prefix, and reserve its cells.

        False when there is no room yet, or when a running prefill is about to make a prefix worth waiting for.
        """
        self.short = False
        if choice.saved is not None:
            return self._bring_back(choice, choice.saved)
        shared = self._longest_shared(choice)
        stored = self._backup.match(choice, shared.length if shared else 0)
        if self._worth_waiting(choice, max(shared.length if shared else 0, stored.length if stored else 0)):
            return False
        if stored is not None:
            placed = self._bring_in(choice, stored)
            if placed is not None:
                return placed
            # What was shared may have been evicted for what could not be restored.
            shared = self._longest_shared(choice)
        if not self._sequence_free(shared):
            return False
        sequence = self._begin(choice, shared)
        length = shared.length if shared else 0
        soon, later = self._headroom(choice)
        need = len(choice.tokens) - length + soon
        # Forked before room is made: what is shared stays alive then, even if its source must be evicted for it.
        if not self._make_room(need, later):
            self._forget(sequence)
            return False
        self._claim(choice, sequence, need, later)
        self._count(choice, length, Tier.RESIDENT)
        return True

    def grew(self, choice: ServedChoice, computed: int) -> None:
        """`computed` more of the choice's claimed tokens are in the KV cache."""
        assert choice.sequence is not None
        self._ledger.extend(choice.sequence, computed)
        choice.computed += computed
        choice.claim -= computed
        self._claims -= computed
        if self._backup.at_checkpoint(choice):
            self._backup.mark(choice, choice.sequence)

    def chunk(self, choice: ServedChoice) -> int:
        """Tokens that the choice may compute in one step: all that are pending, or those before its next checkpoint;
        where the model is reproducible, those of its next pass."""
        if self._grain is not None:
            return choice.next_pass(self._grain)
        return self._backup.until_checkpoint(choice)

    def reserve(self, choice: ServedChoice) -> bool:
        """Make sure that the choice's pending tokens have cells. False when others must be preempted first."""
        lacking = choice.pending - choice.claim
        if lacking <= 0:
            self._widen(choice)
            return True
        wanted = min(OPTIMISTIC_CELLS, choice.limit - choice.generated + 1)
        for count in (max(wanted, lacking), lacking):
            kept = min(choice.promise, count)
            self._promise(choice, -kept)
            if self._make_room(count):
                choice.claim += count
                self._claims += count
                return True
            self._promise(choice, kept)
        return False

    def relieve(self, computed: int) -> None:
        """`computed` tokens were computed: what was of no use meanwhile makes way, where it only slows down passes."""
        self._residents.age(computed)
        if not self._model.spec.scans_all_cells:
            return
        for sequence, age in self._residents.idle(IDLE_TOKENS):
            due = self._backup.awaits(sequence)
            if due and age < UNSAVED_IDLE_TOKENS:
                continue
            if due:
                self._backup.save_now(sequence)
            if self._backup.holds(self._residents.owner(sequence), self._residents.tokens(sequence)):
                self._residents.drop(sequence)
                self._forget(sequence)
            else:
                # What no other tier has at hand is worth its cells.
                self._residents.settle(sequence)
            if due:
                return

    def _widen(self, choice: ServedChoice) -> None:
        """Claim what is free for the tokens to come before the claim is used up: guesses take claimed cells alone."""
        if choice.claim < OPTIMISTIC_CELLS // 2:
            more = min(OPTIMISTIC_CELLS, choice.limit - choice.generated + 1) - choice.claim
            count = max(0, min(more, self.free))
            if self._promises:
                count = min(count, choice.promise + self._attainable())
            self._promise(choice, -min(choice.promise, count))
            choice.claim += count
            self._claims += count

    def _promise(self, choice: ServedChoice, cells: int) -> None:
        """So many more, or fewer."""
        choice.promise += cells
        self._promises += cells

    def rewind(self, choice: ServedChoice) -> bool:
        """Undo what an interrupted step left in the choice's sequence; False where the model cannot."""
        if choice.sequence is None or not isinstance(self._model, Trims):
            return False
        self._model.trim(choice.sequence, choice.computed)
        return True

    def reopen(self, choice: ServedChoice) -> None:
        """Have the choice draw by its own sampling from now on, in a sequence that is made for that."""
        assert choice.sequence is not None
        old, length = choice.sequence, choice.computed
        if isinstance(self._model, Trims) and self._sequence_free(None):
            choice.sequence = self._model.fork(old, length, choice.sampling, choice.tokens)
            self._ledger.fork(old, choice.sequence, length)
            self._forget(old)
            return
        state = self._model.save(old)
        self._forget(old)
        choice.sequence = self._model.restore(state, choice.sampling, choice.tokens)
        self._ledger.open(choice.sequence)
        self._ledger.extend(choice.sequence, length)

    def preempt(self, choice: ServedChoice) -> None:
        """Put the choice's KV state aside and free its cells; `place` brings it back, or has it computed anew where it
        could not be saved."""
        assert choice.sequence is not None
        try:
            choice.saved = self._model.save(choice.sequence) if choice.computed else None
        except (EngineError, MemoryError) as error:
            log.warning("a preempted answer is to be computed anew", why=str(error) or "There is no memory for it.")
            choice.computed = 0
        self._close(choice)

    def release(self, choice: ServedChoice, *, keep: bool) -> None:
        """The choice has ended. With `keep` what it has computed stays: its sequence becomes a resident, where that
        adds anything, and a state that was put aside is stored."""
        keep = keep and choice.computed > 0 and choice.job.request.cache
        saved, choice.saved = choice.saved, None
        if choice.sequence is None:
            # What was drawn one by one is no part of what another reproducible answer may begin with.
            if keep and saved is not None and self._grain is None:
                self._backup.put_aside(choice, saved)
            return
        length = choice.shareable(self._grain)
        if not keep or length == 0:
            self._close(choice)
            return
        if not isinstance(self._model, Trims):
            self._backup.checkpoint(choice, choice.sequence)
            self._close(choice)
            return
        sequence, tokens = choice.sequence, tuple(choice.tokens[:length])
        if length < choice.computed:
            self._model.trim(sequence, length)
            self._ledger.trim(sequence, length)
        self._unclaim(choice)
        self._backup.keep(choice, sequence)
        for old in self._residents.keep(choice.job.owner, tokens, sequence):
            self._backup.forget(old)
            self._forget(old)

    @property
    def unsaved(self) -> int:
        """Finished sequences that are in the KV cache alone."""
        return self._backup.pending

    def store_one(self, most_bytes: int | None = None) -> bool:
        """As `KvBackup.store_one`."""
        return self._backup.store_one(most_bytes)

    def store_all(self, seconds: float) -> None:
        """Store all that is in the KV cache alone, for so many seconds at most, and have it written to disk."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._backup.store_one():
            pass
        self._backup.hurry()

    def stats(self) -> CacheStats:
        size = self._model.spec.kv_bytes_per_token
        return CacheStats(
            entries=len(self._residents),
            memory_bytes=self._ledger.used * size,
            max_bytes=self._model.spec.cells * size,
            lookups=self._lookups,
            hits=self._hits,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._reused.total(),
            evictions=self._evictions,
            reused=dict(self._reused),
            lost=dict(self._lost),
        ).after(self._past)

    @property
    def used(self) -> int:
        """Distinct cells in use."""
        return self._ledger.used

    def _headroom(self, choice: ServedChoice) -> tuple[int, int]:
        """Cells to claim for tokens still to be drawn, a few, and those to promise: others that were asked for."""
        left = choice.limit - choice.generated
        soon = min(OPTIMISTIC_CELLS, left)
        asked = choice.job.request.max_tokens is not None
        return soon, min(left - soon, MOST_PROMISED_CELLS) if asked else 0

    def _longest_shared(self, choice: ServedChoice) -> Shared | None:
        """The live sequence that shares most with the choice, leaving at least its last token to compute."""
        # What is shared is not computed, and so not scored.
        if choice.unscored or not isinstance(self._model, Trims | Marks):
            return None
        wanted = choice.tokens[:-1]
        best: Shared | None = None
        if choice.job.request.cache:
            found = self._residents.match(choice.job.owner, tuple(wanted))
            length = cut_length(found.length, self._grain) if found else 0
            best = Shared(found.entry, length) if found and length else None
        for other in self._running:
            if other.sequence is None:
                continue
            length = min(self._common(choice, other), other.shareable(self._grain))
            if isinstance(self._model, Marks):
                length = max([each for each in self._model.marks(other.sequence) if each <= length], default=0)
            if length > (best.length if best else 0):
                best = Shared(other.sequence, length)
        return best

    def _worth_waiting(self, choice: ServedChoice, now: int) -> bool:
        """Whether a prefill under way will soon hold much more of the prompt than the `now` tokens known elsewhere."""
        if not isinstance(self._model, Trims):
            return False
        return any(
            self._common(choice, other) - now >= WORTH_WAITING_TOKENS for other in self._running if other.pending > 1
        )

    def _common(self, choice: ServedChoice, other: ServedChoice) -> int:
        """Leading tokens in common with a running choice that this one may share."""
        ours, theirs = choice.job, other.job
        if ours is not theirs and not (ours.request.cache and theirs.request.cache and ours.owner == theirs.owner):
            return 0
        return cut_length(count_common(choice.tokens[:-1], other.tokens), self._grain)

    def _sequence_free(self, spare: Shared | None, count: int = 1) -> bool:
        """Whether so many more sequences may be opened, evicting residents (never `spare`) where the limit is
        reached."""
        while len(self._ledger) + count > self._model.spec.sequences:
            victim = self._residents.choose_victim(spare.sequence if spare is not None else None)
            if victim is None:
                self.short = True
                return False
            self._evict(victim)
        return True

    def _begin(self, choice: ServedChoice, shared: Shared | None) -> SequenceId:
        if shared is not None and isinstance(self._model, Trims | Marks):
            sequence = self._model.fork(shared.sequence, shared.length, choice.sampling, choice.tokens)
            self._ledger.fork(shared.sequence, sequence, shared.length)
        else:
            sequence = self._model.open(choice.sampling, choice.tokens)
            self._ledger.open(sequence)
        return sequence

    def _bring_in(self, choice: ServedChoice, match: StoredMatch) -> bool | None:
        """Begin the choice with a stored prefix. False when it must wait, for room or for the disk; None where the
        prefix cannot be had after all."""
        if match.entry.state is None:
            assert self._prefixes is not None
            self._prefixes.fetch(match.entry, self._arrived)
            return False
        soon, later = self._headroom(choice)
        need = len(choice.tokens) - match.length + soon
        # What is cut at a mark is restored as a whole, and forked.
        if not self._sequence_free(None, 2 if isinstance(self._model, Marks) else 1):
            return False
        if not self._make_room(match.length + need, later):
            return False
        tier = match.entry.tier
        # For a moment there are cells for all that was stored.
        sequence = self._backup.restore(choice, match) if self._make_room(len(match.entry.tokens)) else None
        if sequence is None:
            return None
        self._ledger.open(sequence)
        self._ledger.extend(sequence, match.length)
        self._claim(choice, sequence, need, later)
        self._count(choice, match.length, tier)
        return True

    def _bring_back(self, choice: ServedChoice, saved: bytes) -> bool:
        """Restore a preempted choice; computes it anew where the engine will not take its own state back."""
        soon, later = self._headroom(choice)
        need = len(choice.tokens) + soon
        if not self._sequence_free(None) or not self._make_room(need, later):
            return False
        try:
            sequence = self._model.restore(saved, choice.sampling, choice.tokens)
        except (EngineError, MemoryError):
            choice.computed = 0
            sequence = self._model.open(choice.sampling, choice.tokens)
        self._ledger.open(sequence)
        self._ledger.extend(sequence, choice.computed)
        self._claim(choice, sequence, need - choice.computed, later)
        choice.saved = None
        return True

    def _claim(self, choice: ServedChoice, sequence: SequenceId, cells: int, promised: int) -> None:
        choice.sequence = sequence
        choice.claim = cells
        self._claims += cells
        self._promise(choice, promised)

    def _count(self, choice: ServedChoice, cached: int, tier: Tier) -> None:
        """Book a lookup; choices after the first share their own request's prompt, which is no cache hit."""
        choice.computed = cached
        if choice.generated:
            return
        choice.cached = cached
        if choice.index:
            return
        reuse = choice.job.reuse = self._backup.explain(choice, cached, tier if cached else None)
        if reuse.cause is not None:
            self._lost[reuse.cause] += reuse.lost
        if choice.job.request.cache:
            self._lookups += 1
            self._hits += cached > 0
            self._prompt_tokens += len(choice.tokens)
            if cached:
                self._reused[tier] += cached

    def _make_room(self, cells: int, promised: int = 0) -> bool:
        """Evict residents, those first that are worth least, until so many cells are free; evicts none when that cannot
        be enough, or where so many more could not be `promised`."""
        if self.free - self._promises < cells + promised and self._attainable() < cells + promised:
            self.short = True
            return False
        while self.free < cells:
            victim = self._residents.choose_victim()
            if victim is None:
                return False
            self._evict(victim)
        return True

    def _attainable(self) -> int:
        """Free cells if every resident were evicted, but for those that are promised."""
        kept = [sequence for sequence in self._ledger.sequences() if sequence not in self._residents]
        return self._model.spec.cells - self._ledger.distinct(kept) - self._claims - self._promises

    def _evict(self, sequence: SequenceId) -> None:
        self._backup.evict(sequence, self._residents.owner(sequence), self._residents.tokens(sequence))
        self._residents.drop(sequence)
        self._forget(sequence)
        self._evictions += 1

    def _forget(self, sequence: SequenceId) -> None:
        self._ledger.close(sequence)
        self._model.close(sequence)

    def _close(self, choice: ServedChoice) -> None:
        assert choice.sequence is not None
        sequence = choice.sequence
        self._unclaim(choice)
        self._forget(sequence)

    def _unclaim(self, choice: ServedChoice) -> None:
        self._claims -= choice.claim
        choice.claim = 0
        self._promise(choice, -choice.promise)
        choice.sequence = None
