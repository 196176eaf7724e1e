"""What a user sets for one chat: how its answers are drawn, how long they may be, how much is thought before them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from core.requests import Conversation, Generation, Message, ReasoningWish, Role, Sampling, SamplingWish, TextPart

MOST_STOPS: Final = 16
"""Texts that end an answer."""
MOST_STOP_CHARACTERS: Final = 200
MOST_TOKENS: Final = 2**31 - 1


class ChatSettings(Struct, frozen=True, omit_defaults=True):
    """What is unset is left to the model: to its own settings, and to its makers."""

    system: str = ""
    """What the model is told first."""
    temperature: float | None = None
    top_p: float | None = None
    min_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    """Of one answer, its thought included."""
    stop: tuple[str, ...] = ()
    effort: str | None = None
    """How much is thought before an answer, in a word that chat templates know."""
    budget: int | None = None
    """Tokens of thinking, at most."""

    def __post_init__(self) -> None:
        """Raises ValueError for a number out of bounds: settings are read from files that people write."""
        for name, bounds in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not bounds.least <= value <= bounds.most:
                raise ValueError(f"{name} is {value:g}, not from {bounds.least:g} to {bounds.most:g}")

    @property
    def sampling(self) -> SamplingWish:
        return SamplingWish(
            temperature=self.temperature,
            top_p=self.top_p,
            min_p=self.min_p,
            top_k=self.top_k,
            seed=self.seed,
        )

    @property
    def reasoning(self) -> ReasoningWish:
        return ReasoningWish(effort=self.effort, budget=self.budget)

    def apply(self, request: Generation) -> Generation:
        """The request as this chat wants it; its prompt is a conversation without a system message."""
        prompt = request.prompt
        if self.system.strip() and isinstance(prompt, Conversation):
            first = Message(Role.SYSTEM, (TextPart(self.system.strip()),))
            prompt = replace(prompt, messages=(first, *prompt.messages))
        return replace(
            request,
            prompt=prompt,
            sampling=self.sampling,
            max_tokens=self.max_tokens,
            stop=self.stop,
            reasoning=self.reasoning,
        )

    def list_differences(self, usual: Sampling | None = None) -> tuple[str, ...]:
        """A few words for each thing that is not as the model has it; `usual` is how it draws tokens by itself, None
        where nobody knows."""
        told = ["system prompt"] if self.system.strip() else []
        for name, value in asdict(self.sampling).items():
            if value is not None and (usual is None or getattr(usual, name) != value):
                told.append(f"{SHORT_NAMES.get(name, name)} {value:g}")
        if self.max_tokens is not None:
            told.append(f"at most {self.max_tokens:,} tok")
        if self.stop:
            told.append("1 stop" if len(self.stop) == 1 else f"{len(self.stop)} stops")
        if self.effort is not None:
            told.append(f"effort {self.effort}")
        if self.budget is not None:
            told.append(f"thinks {self.budget:,} tok")
        return tuple(told)


SHORT_NAMES: Final[Mapping[str, str]] = MappingProxyType({"temperature": "temp"})


class NumberBounds(Struct, frozen=True):
    """What a number in the settings may be."""

    least: float
    most: float
    whole: bool = False


BOUNDS: Final[Mapping[str, NumberBounds]] = MappingProxyType(
    {
        "temperature": NumberBounds(0, 100),
        "top_p": NumberBounds(0, 1),
        "min_p": NumberBounds(0, 1),
        "top_k": NumberBounds(0, MOST_TOKENS, whole=True),
        "seed": NumberBounds(0, 2**63 - 1, whole=True),
        "max_tokens": NumberBounds(1, MOST_TOKENS, whole=True),
        "budget": NumberBounds(0, MOST_TOKENS, whole=True),
    }
)
"""Of the fields that are numbers."""


def read_number(name: str, text: str) -> float | None:
    """The number that was written for a field, an int where it has to be whole; None for nothing but blanks. Raises
    ValueError, in words for the user."""
    text = text.strip().replace("_", "")
    if not text:
        return None
    bounds = BOUNDS[name]
    try:
        value = int(text) if bounds.whole else float(text.replace(",", "."))
    except ValueError:
        raise ValueError("a whole number, please" if bounds.whole else "a number, please") from None
    if not bounds.least <= value <= bounds.most:
        if bounds.most > 1000:
            raise ValueError(f"{bounds.least:g} or more" if value < bounds.least else "too large")
        raise ValueError(f"from {bounds.least:g} to {bounds.most:g}")
    return value


def read_stops(text: str) -> tuple[str, ...]:
    r"""The texts that were written, with commas between them; `\n` and `\t` are what they are in programs, and `\,` is
    a comma. Raises ValueError, in words for the user."""
    texts, current, at = [], "", 0
    while at < len(text):
        sign, at = text[at], at + 1
        if sign == "\\" and at < len(text):
            current, at = current + _UNESCAPED.get(text[at], f"\\{text[at]}"), at + 1
        elif sign == ",":
            texts.append(current)
            current = ""
        else:
            current += sign
    # A blank behind a comma separates; one that was meant stands before it.
    found = tuple(dict.fromkeys(each for each in (each.removeprefix(" ") for each in (*texts, current)) if each))
    if len(found) > MOST_STOPS:
        raise ValueError(f"at most {MOST_STOPS} texts")
    if any(len(each) > MOST_STOP_CHARACTERS for each in found):
        raise ValueError(f"at most {MOST_STOP_CHARACTERS} characters each")
    return found


def format_stops(stops: tuple[str, ...]) -> str:
    """As `read_stops` reads them."""
    return ", ".join("".join(_ESCAPED.get(sign, sign) for sign in each) for each in stops)


_ESCAPED: Final = {"\n": r"\n", "\t": r"\t", "\r": r"\r", ",": r"\,", "\\": r"\\"}
_UNESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", ",": ",", "\\": "\\"}
