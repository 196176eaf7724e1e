"""Forms compiled for the vocabulary of one model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from core.contract.models import Tokenizer
from core.decoding.masks.calls import write_call_marks
from core.decoding.masks.library import build_matcher, join_grammar
from core.decoding.masks.thinking import Thinking, write_marks, write_start
from core.decoding.masks.token_mask import TokenMask
from core.decoding.masks.trials import FormTrials, UnfitForm
from core.errors import RequestError
from core.requests import CallForm, Constraint, MaskForm

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MOST_KEPT_FORMS: Final = 128
"""Compiled forms."""
MOST_KEPT_BYTES: Final = 128 << 20
"""That the compiled forms may take together, by estimate."""
MATCHER_BYTES: Final = 1 << 16
BYTES_PER_CHARACTER: Final = 128
"""What compiled forms were seen to take: so much each, and so much for each character of the grammar."""
SPECIAL: Final = b"\xff"
"""Before what is no text: the library allows it where a grammar names it alone."""

Key = tuple[MaskForm, Thinking | None]


class MaskCompiler:
    """Compiles for one model. Safe to call from any thread; `compile` waits, so no event loop may call it."""

    def __init__(self, tokenizer: Tokenizer, trials: FormTrials) -> None:
        self._tokenizer = tokenizer
        self._trials = trials
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._vocabulary: LLTokenizer | None = None
        self._compiled: OrderedDict[Key, tuple[LLMatcher, int]] = OrderedDict()
        self._size = 0

    def find(self, constraint: Constraint, thinking: Thinking | None = None) -> TokenMask | None:
        """A mask that was compiled before, at once; None where it has to be compiled."""
        key = (constraint.form, thinking)
        with self._lock:
            found = self._compiled.get(key)
            if found is None:
                return None
            self._compiled.move_to_end(key)
            return self._mask(found[0], constraint)

    def compile(self, constraint: Constraint, thinking: Thinking | None = None) -> TokenMask:
        """A mask at the beginning of an answer.

        Raises RequestError, which names the field, where there can be none, Overloaded where the machine has no room to
        try the form. The first call reads the whole vocabulary, which takes some half a second where that is large.
        """
        if (known := self.find(constraint, thinking)) is not None:
            return known
        try:
            grammar = self._trials.write_grammar(constraint.form)
        except UnfitForm as error:
            raise RequestError(f"`{constraint.field}` cannot be used. {error}", constraint.field) from error
        parts = [grammar]
        calls = isinstance(constraint.form, CallForm)
        if isinstance(constraint.form, CallForm):
            parts.extend(write_call_marks(constraint.form, lambda mark: write_marks(mark, self._tokenizer)))
        start = write_start(thinking, self._tokenizer, calls=calls)
        matcher = build_matcher(self._read_vocabulary(), join_grammar(start, *parts))
        # The first mask fills what later ones and copies share, and costs most.
        matcher.compute_bitmask()
        if matcher.is_error():
            raise RequestError(
                f"`{constraint.field}` is too complex for the vocabulary of this model; make it simpler.",
                constraint.field,
            )
        with self._lock:
            self._keep((constraint.form, thinking), matcher, MATCHER_BYTES + BYTES_PER_CHARACTER * len(grammar))
            return self._mask(matcher, constraint)

    def _mask(self, matcher: LLMatcher, constraint: Constraint) -> TokenMask:
        return TokenMask(matcher.deep_copy(), constraint.field, lambda: self._note_slow(constraint.form))

    def _note_slow(self, form: MaskForm) -> None:
        """Refuse a form for a while whose masks took too long: those that others wait for would again."""
        self._trials.refuse(form, "Following it takes too long, and others would wait for it; make it simpler.")
        with self._lock:
            for key in [key for key in self._compiled if key[0] == form]:
                self._size -= self._compiled.pop(key)[1]

    def _keep(self, key: Key, matcher: LLMatcher, size: int) -> None:
        if key in self._compiled or size > MOST_KEPT_BYTES:
            return
        self._compiled[key] = matcher, size
        self._size += size
        while len(self._compiled) > MOST_KEPT_FORMS or self._size > MOST_KEPT_BYTES:
            _, (_, freed) = self._compiled.popitem(last=False)
            self._size -= freed

    def _read_vocabulary(self) -> LLTokenizer:
        with self._making:
            if self._vocabulary is None:
                self._vocabulary = _read(self._tokenizer)
            return self._vocabulary


class _MaskVocabulary:
    """A vocabulary as the library wants it."""

    def __init__(self, tokens: list[bytes], specials: list[int], end: int) -> None:
        self.tokens = tokens
        self.special_token_ids = specials
        self.eos_token_id = end
        self.bos_token_id = None

    def __call__(self, text: bytes) -> list[int]:
        """Never asked of grammars that leave the division into tokens to the model."""
        return []


def _read(tokenizer: Tokenizer) -> LLTokenizer:
    from llguidance import LLTokenizer, TokenizerWrapper

    names = _names(tokenizer)
    tokens: list[bytes] = []
    specials: list[int] = []
    for token in range(tokenizer.size):
        piece = b"" if tokenizer.is_end(token) else tokenizer.piece(token)
        if not piece:
            specials.append(token)
            piece = SPECIAL + names.get(token, f"<|unnamed {token}|>").encode()
        tokens.append(piece)
    ends = [token for token in specials if tokenizer.is_end(token)]
    if not ends:
        # The library wants one: a token that no model draws.
        ends = [len(tokens)]
        specials += ends
        tokens.append(SPECIAL + b"<|no end|>")
    return LLTokenizer(TokenizerWrapper(_MaskVocabulary(tokens, specials, ends[0])), eos_token=ends)


def _names(tokenizer: Tokenizer) -> dict[int, str]:
    """How control tokens are written, by which a grammar may name them."""
    found: dict[int, str] = {}
    for name in tokenizer.controls:
        tokens = tokenizer.encode(name, special=True)
        if len(tokens) == 1:
            found[tokens[0]] = name
    return found
