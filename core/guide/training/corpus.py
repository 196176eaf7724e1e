"""What guide is taught: the facts in `facts/*.toml`, and how a conversation about them is written as ChatML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FACTS: Final[Path] = Path(__file__).with_name("facts")
START: Final = "<|im_start|>"
END: Final = "<|im_end|>"
PAD: Final = "<|endoftext|>"
SPECIAL_TOKENS: Final = (PAD, START, END)
"""Control tokens, in the order of their ids (0, 1, 2)."""

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML as Jinja; `build_prompt` below writes the same text without Jinja."""

_KEYS: Final = frozenset({"id", "answer", "questions", "heldout", "terms", "plurals", "goals"})


@dataclass(frozen=True)
class Fact:
    """One thing guide knows: an answer and the ways to ask for it."""

    id: str
    answer: str
    questions: tuple[str, ...]
    """Hand-written phrasings to train on."""
    heldout: tuple[str, ...]
    """Hand-written phrasings that no training text may equal; they measure generalisation."""
    terms: tuple[str, ...] = ()
    """Nouns in the singular that the answer explains, for templates such as `what is ...`."""
    plurals: tuple[str, ...] = ()
    """The same in the plural, for `what are ...`."""
    goals: tuple[str, ...] = ()
    """Verb phrases that the answer helps with, for `how do I ...`."""


def load_facts(folder: Path = FACTS) -> tuple[Fact, ...]:
    """Every fact of the folder, in the order of file names; raises ValueError that names file and fact."""
    facts: list[Fact] = []
    for path in sorted(folder.glob("*.toml")):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        facts.extend(_fact(entry, path.name) for entry in data["fact"])
    return tuple(facts)


def normalise_text(text: str) -> str:
    """The text without case, punctuation and doubled spaces: two phrasings with one normal form count as equal."""
    return " ".join(re.findall(r"[a-z0-9_/<|>:.-]*[a-z0-9_/<|>]", text.lower()))


def list_heldout_forms(facts: Iterable[Fact]) -> frozenset[str]:
    """Normal forms of all held-out phrasings: what training must never see."""
    return frozenset(normalise_text(question) for fact in facts for question in fact.heldout)


def build_prompt(question: str, *, system: str | None = None, earlier: Sequence[tuple[str, str]] = ()) -> str:
    """ChatML up to the place where the assistant's answer begins; `earlier` holds (question, answer) turns."""
    parts = [] if system is None else [_message("system", system)]
    for asked, answered in earlier:
        parts += [_message("user", asked), _message("assistant", answered)]
    return "".join([*parts, _message("user", question), f"{START}assistant\n"])


def _message(role: str, content: str) -> str:
    return f"{START}{role}\n{content}{END}\n"


def _fact(entry: Mapping[str, Any], file: str) -> Fact:
    name = entry.get("id", "?")
    if unknown := set(entry) - _KEYS:
        raise ValueError(f"{file}, fact {name}: unknown keys {sorted(unknown)}")
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    try:
        return Fact(**fields)
    except TypeError as error:
        raise ValueError(f"{file}, fact {name}: {error}") from error
