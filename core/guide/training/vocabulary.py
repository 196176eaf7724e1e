# mypy: disable-error-code="import-not-found, import-untyped, no-any-return, no-any-unimported, unused-ignore"
# Why: `tokenizers` belongs to the training scripts alone and is no dependency of the product.
"""The tokenizer of guide: byte-level BPE over its own texts, cut as GPT-2 cuts them (GGUF's pre-tokenizer `gpt-2`)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from core.guide.training.corpus import SPECIAL_TOKENS, Fact
from core.guide.training.phrasing import Phrasings

_ROLES = ("system", "user", "assistant", "\n")


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids, and BPE merges in the order of their ranks, as GGUF stores them."""

    tokens: tuple[str, ...]
    merges: tuple[str, ...]

    def tokenizer(self) -> Tokenizer:
        """A tokenizer that reads the control tokens in the text as such."""
        pairs = [(left, right) for left, right in (merge.split(" ") for merge in self.merges)]
        made = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(self.tokens)}, merges=pairs))
        return _dressed(made)


def train_vocabulary(facts: Sequence[Fact], size: int, seed: int) -> Vocabulary:
    """`size` tokens: the control tokens first, then the 256 bytes, then merges learnt from answers and questions."""
    tokenizer = _dressed(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(facts, seed), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
    return Vocabulary(tuple(tokens), tuple(merges))


def _texts(facts: Sequence[Fact], seed: int) -> Iterable[str]:
    """Every answer twice, and a few drawn questions a fact, so that both sides shape the merges."""
    phrasings = Phrasings(facts, random.Random(seed))
    for fact in facts:
        yield from (fact.answer, fact.answer, *fact.questions)
        yield from (phrasings.draw(fact) for _ in range(4))
    yield from _ROLES * 100


def _dressed(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer
