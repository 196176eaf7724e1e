"""What a request says and what comes of it, as it lies in memory anyway: nothing is copied or put into words until
somebody looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from weakref import WeakMethod

from msgspec import Struct
from msgspec.structs import replace

from core.errors import BenchtopError
from core.requests import Embedding, Generation, RawText, Reranking, Transcription
from core.serving.ability import Request
from core.tasks.bounds import count_prompt_bytes

MOST_WRITTEN_TOKENS: Final = 8_000
"""Of a prompt or an answer that are put into words."""

Decode = Callable[[Sequence[int]], Awaitable[bytes]]


class RequestContent(Struct, frozen=True, eq=False):
    """The sequences grow while the request runs."""

    asked: Request
    """With its sampling in full once its model has read it."""
    prompt: Sequence[int] = ()
    """Tokens; none of one that its model reads by itself, or has not read yet."""
    choices: tuple[Sequence[int], ...] = ()
    """The tokens of each choice, behind those of the prompt."""
    pieces: Sequence[str] = ()
    """What a model wrote that decodes by itself."""
    decode: WeakMethod[Decode] | None = None
    """Of the model that read it, as long as that is loaded."""

    @property
    def weight(self) -> int:
        """Tokens that are kept by keeping this, about."""
        tokens = len(self.prompt) + sum(map(len, self.choices))
        return tokens or len(self.pieces) + _count_characters(self.asked) // 4

    async def write_prompt(self) -> str | None:
        """The prompt as the model reads it, control tokens and all, of a long one both ends. None where there is none,
        or its model is gone."""
        half = MOST_WRITTEN_TOKENS // 2
        if not self.prompt:
            return None
        if len(self.prompt) <= MOST_WRITTEN_TOKENS:
            written = await self.spell(self.prompt)
            return None if written is None else written.decode("utf-8", "replace")
        begin, end = await self.spell(self.prompt[:half]), await self.spell(self.prompt[-half:])
        if begin is None or end is None:
            return None
        left = f"\n\n... {len(self.prompt) - MOST_WRITTEN_TOKENS:,} tokens ...\n\n"
        return left.join(each.decode("utf-8", "replace") for each in (begin, end))

    async def spell(self, tokens: Sequence[int]) -> bytes | None:
        """The letters of tokens. None where the model is gone that has them."""
        decode = self.decode() if self.decode is not None else None
        if decode is None:
            return None
        try:
            return await decode(tokens)
        except BenchtopError:
            return None

    def without_audio(self) -> RequestContent:
        """Without the file of a transcription, which is large and cannot be read."""
        return replace(self, asked=replace(self.asked, audio=b"")) if isinstance(self.asked, Transcription) else self


class AnswerReadout:
    """Puts an answer into words as it grows: each token once, and of a long answer the end."""

    def __init__(self, content: RequestContent, choice: int = 0) -> None:
        self._content = content
        self._tokens = content.choices[choice] if content.choices else ()
        self._read = len(content.prompt)
        """Tokens that are in words, or before those that are."""
        self._letters = b""

    async def read(self) -> str | None:
        """All up to now. None where its model is gone."""
        if not self._content.choices:
            return "".join(self._content.pieces[-MOST_WRITTEN_TOKENS:])
        begin = max(self._read, len(self._tokens) - MOST_WRITTEN_TOKENS)
        if more := self._tokens[begin:]:
            letters = await self._content.spell(more)
            if letters is None:
                return None
            self._read = begin + len(more)
            self._letters = (self._letters + letters)[-4 * MOST_WRITTEN_TOKENS :]
        return self._letters.decode("utf-8", "replace")


def _count_characters(asked: Request) -> int:
    match asked:
        case Generation():
            return count_prompt_bytes(asked)
        case Embedding(inputs=inputs):
            return sum(len(each.text) if isinstance(each, RawText) else len(each.tokens) for each in inputs)
        case Reranking(query=query, documents=documents):
            return len(query) + sum(map(len, documents))
        case Transcription(prompt=prompt):
            return len(prompt)
