"""A `config.json`, and how a fact is looked up in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from core.models.formats.gguf_facts import MOST_UNITS
from core.models.formats.hf_families import DEFAULTS
from core.models.formats.source import Damaged
from core.text_files import drop_mark

TEXT: Final = ("text_config", "llm_config")
"""Where a model of several parts keeps what is said of the one for text."""


class Keys:
    """Reads what is asked of it, in the part about text where a model has several; else what its family takes for
    granted."""

    def __init__(self, data: bytes) -> None:
        """Raises Damaged for what is no JSON object."""
        try:
            self._all: Mapping[str, object] = msgspec.json.decode(drop_mark(data), type=dict[str, object])
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise Damaged(f"its config.json is damaged ({error})") from error
        text = next((part for key in TEXT if (part := read_mapping(self._all.get(key)))), {})
        kinds = (str(part.get("model_type") or "").removesuffix("_text") for part in (text, self._all))
        self.families = tuple(kind for kind in kinds if kind)
        """Its model types, that of the part about text first."""
        usual = next((DEFAULTS[family] for family in self.families if family in DEFAULTS), {})
        self._text: Mapping[str, object] = {**usual, **self._all, **text}

    @property
    def architecture(self) -> str:
        return str(self._all.get("model_type") or "unknown")

    @property
    def head(self) -> str:
        """The class of the model, as transformers calls it; empty where none is named."""
        named = self._all.get("architectures")
        return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""

    def number(self, *keys: str, default: int = 0) -> int:
        """The first of the keys that tells a count. Raises Damaged for an absurd one."""
        for key in keys:
            value = self._text.get(key)
            if isinstance(value, int) and not isinstance(value, bool):
                if not 0 <= value < MOST_UNITS:
                    raise Damaged(f"its config.json claims a {key} of {value}")
                return value
        return default

    def raw(self, key: str) -> object:
        return self._text.get(key)

    def names(self, *keys: str) -> list[str]:
        """The first of the keys that holds a list of words, or letters of one."""
        for key in keys:
            value = self._text.get(key)
            if isinstance(value, list | str) and value and all(isinstance(each, str) for each in value):
                return list(value)
        return []

    def numbers(self, *keys: str) -> list[int] | None:
        """The first of the keys that holds a list of whole numbers, which may be empty. Raises Damaged for an absurd
        one."""
        for key in keys:
            value = self._text.get(key)
            if isinstance(value, list) and all(isinstance(each, int) for each in value):
                if not all(0 <= each < MOST_UNITS for each in value):
                    raise Damaged(f"its config.json claims a {key} that cannot be")
                return [int(each) for each in value]
        return None

    def part(self, key: str) -> Mapping[str, object]:
        return read_mapping(self._text.get(key))

    def begins(self, *starts: str) -> bool:
        """Whether it has any key that begins so."""
        return any(key.startswith(starts) for key, value in self._text.items() if value)

    def of(self, families: Mapping[str, int] | frozenset[str]) -> str | None:
        """The first of its families that is one of these."""
        return next((family for family in self.families if family in families), None)


def read_mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
