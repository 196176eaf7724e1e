"""GGUF models that tell how well a text answers a question, by a head that was trained to (rank pooling)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import llama_cpp as native
from msgspec import Struct

from core.contract.models import ModelSpec, TokenPair
from core.engines.llamacpp.encoder import LlamaEncoder
from core.engines.llamacpp.tokenizer import LlamaTokenizer

QUERY: Final = "{query}"
DOCUMENT: Final = "{document}"
PLACES: Final = re.compile(r"\{query\}|\{document\}")


class LlamaReranker(LlamaEncoder):
    """A model with one number a sequence, which may be a logit or a probability."""

    def __init__(
        self,
        model: native.llama_model_p,
        context: native.llama_context_p,
        tokenizer: LlamaTokenizer,
        spec: ModelSpec,
        *,
        width: int,
        bounded: bool,
        template: str,
    ) -> None:
        """`template`: the text that stands around query and document; empty where special tokens do."""
        super().__init__(model, context, tokenizer, spec, width=width)
        self.bounded = bounded
        self._frame = TemplateFrame(tokenizer, template) if template else read_special_frame(tokenizer)

    def encode_pair(self, query: str, document: str, *, limit: int | None = None) -> TokenPair:
        return self._frame.frame(query, document, limit)

    def score(self, pairs: Sequence[TokenPair]) -> list[float]:
        scores: list[float] = self.compute([pair.tokens for pair in pairs])[:, 0].tolist()
        return scores


class SpecialFrame(Struct, frozen=True):
    """Query and document between tokens of the vocabulary, as llama.cpp's server puts them
    (`format_prompt_rerank`)."""

    tokenizer: LlamaTokenizer
    before: tuple[int, ...]
    between: tuple[int, ...]
    behind: tuple[int, ...]

    def frame(self, query: str, document: str, limit: int | None) -> TokenPair:
        head = [*self.before, *self.tokenizer.encode(query, special=False), *self.between]
        body = self.tokenizer.encode(document, special=False)
        if limit is not None:
            body = body[: max(0, limit - len(head) - len(self.behind))]
        return TokenPair([*head, *body, *self.behind], len(head))


def read_special_frame(tokenizer: LlamaTokenizer) -> SpecialFrame:
    """As the vocabulary wants it."""
    vocab = tokenizer.vocab
    begin, end, sep = native.llama_vocab_bos(vocab), native.llama_vocab_eos(vocab), native.llama_vocab_sep(vocab)
    end = end if end != native.LLAMA_TOKEN_NULL else sep
    before = (begin,) if native.llama_vocab_get_add_bos(vocab) else ()
    ends = (end,) if native.llama_vocab_get_add_eos(vocab) else ()
    seps = (sep,) if native.llama_vocab_get_add_sep(vocab) else ()
    return SpecialFrame(tokenizer, before, (*ends, *seps), ends)


class TemplateFrame:
    """Query and document within a text of the model's file, whose control tokens are control tokens; those that a query
    or a document writes are text."""

    def __init__(self, tokenizer: LlamaTokenizer, template: str) -> None:
        self._tokenizer = tokenizer
        controls = sorted((text for text in tokenizer.controls if text in template), key=len, reverse=True)
        pattern = f"({'|'.join(map(re.escape, controls))})" if controls else None
        self._parts = re.split(pattern, template) if pattern else [template]
        """Texts and, at odd places, control tokens."""

    def frame(self, query: str, document: str, limit: int | None) -> TokenPair:
        made = [self._encode(number, query, document) for number in range(len(self._parts))]
        place = next((number for number, part in enumerate(self._parts) if DOCUMENT in part), 0)
        size = sum(map(len, made))
        if limit is not None and size > limit:
            made[place] = self._cut(place, query, document, len(made[place]) + limit - size)
        return TokenPair([token for tokens in made for token in tokens], sum(map(len, made[:place])))

    def _encode(self, number: int, query: str, document: str) -> list[int]:
        given = {QUERY: query, DOCUMENT: document}
        text = PLACES.sub(lambda found: given[found[0]], self._parts[number])
        return self._tokenizer.encode(text, special=number % 2 == 1)

    def _cut(self, number: int, query: str, document: str, limit: int) -> list[int]:
        """The part with the document in as many tokens, if what stands around the document is no more."""
        before, _, behind = self._parts[number].partition(DOCUMENT)
        before = before.replace(QUERY, query)
        end = self._tokenizer.encode(behind.replace(QUERY, query), special=False)
        least = len(self._tokenizer.encode(before, special=False))
        begun = self._tokenizer.encode(before + document, special=False)
        return [*begun[: max(least, limit - len(end))], *end]
