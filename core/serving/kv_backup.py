"""What a model's KV cache holds, put into the store and taken out of it again.

Belongs to the loop's thread, as the model does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from core.cache.model_prefixes import ModelPrefixes
from core.cache.prefix import Tokens
from core.cache.prefix_index import StoredMatch
from core.cache.recall import Asked, Outline
from core.contract.models import Marks, TokenModel, Trims
from core.contract.step import SequenceId
from core.errors import EngineError
from core.reuse import Reuse, Tier
from core.serving.sequence import ServedChoice, cut_length
from core.telemetry.log import get_logger

LEAST_TOKENS = 32
"""Shorter prefixes are computed sooner than they are stored."""
RESTORING_SHARE = 1 / 32
"""Of the time that computing a token takes, what restoring one may take: a long state is not restored for a few
tokens of it."""
CHECKPOINT_TOKENS = 2048
"""Between two states of a long prompt, where a state cannot be cut."""
TAIL_TOKENS = 16
"""In front of the end of a prompt, where a state cannot be cut: what a template writes before an answer may be
written otherwise in the next turn, and the same prompt may come again."""
ROOM = "the room of the KV cache"
NO_MEMORY = "There is not enough memory for it."
log = get_logger(__name__)


class _KeptSequence:
    """A finished sequence that is in the KV cache alone."""

    __slots__ = ("outline", "owner", "tokens")

    def __init__(self, owner: str, tokens: Tokens, outline: Outline) -> None:
        self.owner = owner
        self.tokens = tokens
        self.outline = outline


class KvBackup:
    """Decides nothing about the KV cache's cells: `KvMemory` does. Without `prefixes` it stores nothing."""

    def __init__(self, model: TokenModel, prefixes: ModelPrefixes | None) -> None:
        self._model = model
        self._prefixes = prefixes
        self._trims = isinstance(model, Trims)
        self._unsaved: OrderedDict[SequenceId, _KeptSequence] = OrderedDict()

    @property
    def _stores(self) -> bool:
        return self._prefixes is not None and self._prefixes.keeps

    @property
    def pending(self) -> int:
        """Finished sequences that are in the KV cache alone."""
        return len(self._unsaved)

    def match(self, choice: ServedChoice, shared: int) -> StoredMatch | None:
        """A stored prefix that is worth restoring although `shared` tokens are in the KV cache; the last token of the
        choice is always left to compute."""
        if self._prefixes is None or not choice.job.request.cache:
            return None
        found = self._prefixes.match(choice.job.owner, tuple(choice.tokens[:-1]))
        if found is None:
            return None
        found = StoredMatch(found.entry, cut_length(found.length, self._model.spec.grain))
        if found.length - shared < LEAST_TOKENS:
            return None
        worth = found.length - shared >= len(found.entry.tokens) * RESTORING_SHARE
        return found if worth else None

    def restore(self, choice: ServedChoice, match: StoredMatch) -> SequenceId | None:
        """A sequence that holds what was matched; None where the state is gone, or the engine will not have it."""
        assert self._prefixes is not None
        state = self._prefixes.take(match.entry)
        if state is None:
            return None
        try:
            sequence = self._model.restore(state, choice.sampling, choice.tokens)
        except EngineError as error:
            self._prefixes.discard(match.entry, str(error))
            return None
        except MemoryError:
            log.warning("a prefix could not be restored", why=NO_MEMORY)
            return None
        if match.length < len(match.entry.tokens) and isinstance(self._model, Trims):
            self._model.trim(sequence, match.length)
        elif isinstance(self._model, Marks):
            return self._cut_at_mark(self._model, choice, match, sequence)
        return sequence

    def explain(self, choice: ServedChoice, reused: int, tier: Tier | None) -> Reuse:
        """Why no more of the choice's prompt was reused."""
        if self._prefixes is None:
            return Reuse(reused, tier)
        tokenizer = self._model.tokenizer

        def words(tokens: Sequence[int]) -> str:
            return b"".join(map(tokenizer.piece, tokens)).decode("utf-8", "replace")

        job = choice.job
        asked = Asked(tuple(choice.tokens), job.outline, reused, tier, job.request.cache)
        return self._prefixes.explain(job.owner, asked, words)

    def keep(self, choice: ServedChoice, sequence: SequenceId) -> None:
        """The sequence stays in the KV cache, and is to be stored when there is time."""
        kept = self._kept(choice)
        if len(kept.tokens) >= LEAST_TOKENS and self._prefixes is not None and self._prefixes.keeps:
            self._unsaved[sequence] = kept

    def mark(self, choice: ServedChoice, sequence: SequenceId) -> None:
        """The choice is at a checkpoint: its sequence can be cut here later, or else is stored as it is now. Within a
        long prompt it is stored in any case."""
        if not isinstance(self._model, Marks):
            self.checkpoint(choice, sequence)
        elif self._stores:
            _mark(self._model, sequence)
            if choice.computed % CHECKPOINT_TOKENS == 0:
                # What is computed of a long prompt outlives a failure of the engine.
                self.checkpoint(choice, sequence)

    def checkpoint(self, choice: ServedChoice, sequence: SequenceId) -> None:
        """Store the sequence as it is now, with its marks."""
        if self._stores and choice.computed >= LEAST_TOKENS:
            self._save(sequence, self._kept(choice))

    def put_aside(self, choice: ServedChoice, state: bytes) -> None:
        """Store what a pre-empted choice had computed; it does not come back for it."""
        if self._stores and choice.computed >= LEAST_TOKENS:
            self._put(self._kept(choice), state, ())

    def until_checkpoint(self, choice: ServedChoice) -> int:
        """Tokens of the choice that may be computed before a state of it is to be stored; all where none is."""
        if self._trims or not self._stores or not choice.job.request.cache or choice.index:
            return choice.pending
        return choose_checkpoint(len(choice.job.prompt), choice.computed, choice.pending)

    def at_checkpoint(self, choice: ServedChoice) -> bool:
        """Whether a state of the choice is to be stored now."""
        return (
            not self._trims
            and choice.index == 0
            and choice.job.request.cache
            and is_checkpoint(len(choice.job.prompt), choice.computed)
        )

    def forget(self, sequence: SequenceId) -> None:
        """The sequence leaves the KV cache, and what it holds is held by another."""
        self._unsaved.pop(sequence, None)

    def evict(self, sequence: SequenceId, owner: str, tokens: Tokens) -> None:
        """The sequence is about to leave the KV cache for others."""
        kept = self._unsaved.pop(sequence, None)
        if kept is not None:
            self._save(sequence, kept)
        elif self._prefixes is not None:
            stored = self._prefixes.match(owner, tokens)
            if stored is None or stored.length < len(tokens):
                self._prefixes.note_gone(owner, tokens, ROOM)

    def holds(self, owner: str, tokens: Tokens) -> bool:
        """Whether these tokens may leave the KV cache and come back at the price of a copy."""
        if len(tokens) < LEAST_TOKENS:
            return True
        if self._prefixes is None:
            return False
        stored = self._prefixes.match(owner, tokens)
        return stored is not None and stored.length == len(tokens) and stored.entry.state is not None

    def awaits(self, sequence: SequenceId) -> bool:
        """Whether the sequence is to be stored."""
        return sequence in self._unsaved

    def save_now(self, sequence: SequenceId) -> None:
        """Store a sequence that is to be stored."""
        self._save(sequence, self._unsaved.pop(sequence))

    def store_one(self, most_bytes: int | None = None) -> bool:
        """Store the sequence that has waited longest; False where there is none, or none of `most_bytes` at most."""
        size = self._model.spec.kv_bytes_per_token
        for sequence, kept in self._unsaved.items():
            if most_bytes is None or len(kept.tokens) * size <= most_bytes:
                del self._unsaved[sequence]
                self._save(sequence, kept)
                return True
        return False

    def hurry(self) -> None:
        """Have what was stored written to disk at once."""
        if self._prefixes is not None:
            self._prefixes.hurry()

    def _kept(self, choice: ServedChoice) -> _KeptSequence:
        """What the choice's sequence holds, which is remembered too."""
        job = choice.job
        kept = _KeptSequence(job.owner, tuple(choice.tokens[: choice.shareable(self._model.spec.grain)]), job.outline)
        if self._prefixes is not None:
            self._prefixes.remember(kept.owner, kept.tokens, len(job.prompt), kept.outline)
        return kept

    def _save(self, sequence: SequenceId, kept: _KeptSequence) -> None:
        try:
            state = self._model.save(sequence)
        except (EngineError, MemoryError) as error:
            # A state may be as large as the KV cache: where there is no memory for a copy, there may be for all else.
            log.warning("a prefix could not be stored", why=str(error) or NO_MEMORY)
            return
        self._put(kept, state, self._model.marks(sequence) if isinstance(self._model, Marks) else ())

    def _put(self, kept: _KeptSequence, state: bytes, marks: tuple[int, ...]) -> None:
        assert self._prefixes is not None
        whole = len(kept.tokens)
        cuts = None if self._trims else (*(each for each in marks if each < whole), whole)
        self._prefixes.put(kept.owner, kept.tokens, state, kept.outline, cuts)

    def _cut_at_mark(
        self, model: Marks, choice: ServedChoice, match: StoredMatch, whole: SequenceId
    ) -> SequenceId | None:
        """The matched part of a sequence that was restored as a whole, which goes."""
        if match.length == len(match.entry.tokens):
            # It ends here now; once it has gone on, it can be cut here.
            _mark(model, whole)
            return whole
        try:
            return model.fork(whole, match.length, choice.sampling, choice.tokens)
        except EngineError as error:
            assert self._prefixes is not None
            self._prefixes.discard(match.entry, str(error))
        except MemoryError:
            log.warning("a prefix could not be restored", why=NO_MEMORY)
        finally:
            self._model.close(whole)
        return None


def _mark(model: Marks, sequence: SequenceId) -> None:
    try:
        model.mark(sequence)
    except (EngineError, MemoryError) as error:
        log.warning("a sequence could not be marked", why=str(error) or NO_MEMORY)


def choose_checkpoint(prompt: int, computed: int, pending: int) -> int:
    """Tokens to compute until the next state of a prompt of `prompt` tokens is to be stored; `pending` where none is
    any more."""
    marks = (prompt - TAIL_TOKENS, (computed // CHECKPOINT_TOKENS + 1) * CHECKPOINT_TOKENS)
    return min([pending, *(mark - computed for mark in marks if computed < mark <= prompt - TAIL_TOKENS)])


def is_checkpoint(prompt: int, computed: int) -> bool:
    """Whether a state is to be stored after `computed` tokens of a prompt."""
    end = prompt - TAIL_TOKENS
    return 0 < computed <= end and (computed == end or computed % CHECKPOINT_TOKENS == 0)
