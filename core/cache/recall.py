"""Which conversations a model has seen, so that a request can say why its prompt was computed again.

Tokens and digests alone are remembered, not the KV state, so a conversation is remembered for long after its state is
gone. Messages are known by digests: what was said stays with the prompts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from core.cache.identity import ModelIdentity, digest_bytes
from core.cache.prefix import RadixIndex, Tokens
from core.decoding.common_prefix import count_common
from core.requests import Conversation, Generation, Role
from core.reuse import Cause, Departure, Reuse, Tier

MOST_CONVERSATIONS = 256
MOST_TOKENS = 1_000_000
"""Of all conversations together, which take some 50 bytes of memory each."""
NOTABLE_TOKENS = 16
"""Fewer tokens in common are what any two conversations have in common."""
WORDS_TOKENS = 12
"""So many tokens show where a prompt departs."""
REASONING_MARKS = ("<think", "</think", "<|channel|>analysis", "<seed:think", "[THINK]")
"""What models write around their reasoning."""


class Outline(Struct, frozen=True):
    """A conversation by the digests of its parts; all empty for a raw prompt."""

    template: str = ""
    tools: str = ""
    system: str = ""
    messages: tuple[str, ...] = ()
    """All but the system's, in order."""


def outline_request(request: Generation, template: str | None) -> Outline:
    """`template` is the source of the model's chat template."""
    if not isinstance(request.prompt, Conversation):
        return Outline()
    wish = request.reasoning
    system: list[str] = []
    messages: list[str] = []
    for message in request.prompt.messages:
        (system if message.role in (Role.SYSTEM, Role.DEVELOPER) else messages).append(_digest(message))
    return Outline(
        template=_digest((template, sorted(request.prompt.template_arguments.items()), wish.think, wish.effort)),
        tools=_digest(request.prompt.tools),
        system=_digest(system),
        messages=tuple(messages),
    )


class Remembered:
    """A conversation that was computed up to `len(tokens)`."""

    __slots__ = ("gone", "outline", "prompt", "tokens")

    def __init__(self, tokens: Tokens, prompt: int, outline: Outline) -> None:
        self.tokens = tokens
        self.prompt = prompt
        """How many of the tokens are the prompt; the answer follows."""
        self.outline = outline
        self.gone = ""
        """What its state had to make room for; empty while it is stored, as far as is known."""


class Asked(Struct, frozen=True):
    """A prompt and what of it could be reused."""

    tokens: Tokens
    outline: Outline
    reused: int
    tier: Tier | None
    cache: bool
    """Whether the client allowed the cache to be used."""


Partition = tuple[ModelIdentity, str]
"""A model and an owner of entries."""
OTHER_SETTINGS = "other settings of the model or its engine"


class Recall:
    """The conversations of all models with the same weights. Not safe to share between threads."""

    def __init__(self) -> None:
        self._indexes: dict[Partition, RadixIndex[Remembered]] = {}
        self._partitions: OrderedDict[Remembered, Partition] = OrderedDict()
        """The one used longest ago first."""
        self._size = 0
        """Tokens."""

    def remember(self, partition: Partition, tokens: Tokens, prompt: int, outline: Outline) -> None:
        index = self._indexes.setdefault(partition, RadixIndex())
        made = Remembered(tokens, prompt, outline)
        if not index.insert(tokens, made):
            found = index.match(tokens)
            if found is not None:
                found.entry.gone = ""
                self._partitions.move_to_end(found.entry)
            return
        self._partitions[made] = partition
        self._size += len(tokens)
        for old in index.superseded(made):
            self._forget(old)
        while len(self._partitions) > (MOST_CONVERSATIONS if self._size <= MOST_TOKENS else 1):
            self._forget(next(iter(self._partitions)))

    def note_gone(self, partition: Partition, tokens: Tokens, why: str) -> None:
        """The state of these tokens is stored nowhere any more."""
        found = self._find(partition, tokens)
        if found is not None and found[1] == len(tokens):
            found[0].gone = why

    def explain(self, partition: Partition, asked: Asked, words: Callable[[Sequence[int]], str]) -> Reuse:
        """Why no more of the prompt was reused. `words` writes tokens as text."""
        rest = len(asked.tokens) - asked.reused
        if not asked.cache:
            return Reuse(cause=Cause.NO_CACHE_ASKED, lost=rest)
        known, common = self._nearest(partition, asked)
        if known is None:
            cause = self._elsewhere(partition, asked.tokens)
            detail = OTHER_SETTINGS if cause is Cause.EVICTED else ""
            return Reuse(asked.reused, asked.tier, cause, detail, rest)
        departure = self._departure(known, common, asked.tokens, words)
        # The last token is always computed: its logits are what the answer begins with.
        if min(common, len(asked.tokens) - 1) - asked.reused >= NOTABLE_TOKENS:
            lost = min(common, len(asked.tokens)) - asked.reused
            why = known.gone or "a restart of the engine"
            return Reuse(asked.reused, asked.tier, Cause.EVICTED, why, lost, departure)
        if departure is None:
            return Reuse(asked.reused, asked.tier)
        shown = words(known.tokens[max(0, common - 2) : common + WORDS_TOKENS])
        cause = find_cause(known.outline, asked.outline, in_answer=common >= known.prompt, shown=shown)
        lost = rest if cause is Cause.FIRST_SEEN else min(rest, len(known.tokens) - asked.reused)
        return Reuse(asked.reused, asked.tier, cause, lost=max(0, lost), departure=departure)

    def _nearest(self, partition: Partition, asked: Asked) -> tuple[Remembered | None, int]:
        """The known conversation that this one goes on with, and how many tokens they have in common: the one with the
        same first message where that is known, since an edited system prompt leaves few tokens in common."""
        found = self._find(partition, asked.tokens)
        if found is not None and found[1] >= NOTABLE_TOKENS and _related(found[0].outline, asked.outline):
            return found
        for other in reversed(self._partitions) if asked.outline.messages else ():
            if self._partitions[other] == partition and _related(other.outline, asked.outline):
                return other, count_common(other.tokens, asked.tokens)
        return found if found is not None and found[1] >= NOTABLE_TOKENS else (None, 0)

    def _elsewhere(self, partition: Partition, tokens: Tokens) -> Cause:
        """Why the tokens are unknown here, although another owner or adapter may know them."""
        cause = Cause.FIRST_SEEN
        for other in self._indexes:
            found = self._find(other, tokens) if other != partition else None
            if found is None or found[1] < NOTABLE_TOKENS:
                continue
            if other[1] == partition[1]:
                return Cause.ADAPTER_CHANGED if other[0].adapters != partition[0].adapters else Cause.EVICTED
            cause = Cause.OTHER_TENANT
        return cause

    def _departure(
        self, known: Remembered, common: int, tokens: Tokens, words: Callable[[Sequence[int]], str]
    ) -> Departure | None:
        """None where one of the two is the beginning of the other."""
        if common >= min(len(known.tokens), len(tokens) - 1):
            return None
        end = common + WORDS_TOKENS
        return Departure(common, words(known.tokens[common:end]), words(tokens[common:end]))

    def _find(self, partition: Partition, tokens: Tokens) -> tuple[Remembered, int] | None:
        index = self._indexes.get(partition)
        found = index.match(tokens) if index else None
        return (found.entry, found.length) if found else None

    def _forget(self, old: Remembered) -> None:
        partition = self._partitions.pop(old)
        self._size -= len(old.tokens)
        self._indexes[partition].remove(old)
        if not self._indexes[partition]:
            del self._indexes[partition]


def find_cause(known: Outline, asked: Outline, *, in_answer: bool, shown: str) -> Cause:
    """Why a prompt leaves a conversation that is known: `in_answer` where it does so behind the known prompt, in the
    answer; `shown` is what the known conversation says there."""
    if known.messages[:1] != asked.messages[:1]:
        return Cause.FIRST_SEEN
    if known.template != asked.template:
        return Cause.TEMPLATE_CHANGED
    if known.tools != asked.tools:
        return Cause.TOOLS_CHANGED
    if known.system != asked.system:
        return Cause.SYSTEM_CHANGED
    if any(mark in shown for mark in REASONING_MARKS):
        return Cause.REASONING_STRIPPED
    same = count_common(known.messages, asked.messages) == len(known.messages)
    return Cause.TEMPLATE_CHANGED if same and known.messages and not in_answer else Cause.HISTORY_EDITED


def _related(known: Outline, asked: Outline) -> bool:
    """Whether they begin with the same message; raw prompts are related by their tokens alone."""
    return known.messages[:1] == asked.messages[:1]


def _digest(value: object) -> str:
    return digest_bytes(msgspec.json.encode(value))
