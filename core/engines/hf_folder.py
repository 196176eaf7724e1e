"""What the JSON files of a model's folder say, as public repositories lay them out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from core.chat.sources import TemplateChoice, choose_templates, read_templates
from core.contract.options import LoadOptions
from core.errors import ArtifactError
from core.requests import Sampling


class HfFolder:
    """Reads such a folder. Raises ArtifactError for what is missing or damaged."""

    def __init__(self, name: str, root: Path) -> None:
        """`name` is the model's, for errors."""
        self.name = name
        self.root = root

    @cached_property
    def config(self) -> Mapping[str, Any]:
        return self.read("config.json", needed=True)

    @cached_property
    def tokenizer_config(self) -> Mapping[str, Any]:
        return self.read("tokenizer_config.json")

    @cached_property
    def generation_config(self) -> Mapping[str, Any]:
        return self.read("generation_config.json")

    @property
    def tokenizer(self) -> Path:
        path = self.root / "tokenizer.json"
        if not path.is_file():
            raise ArtifactError(self.name, f"{self.name} has no tokenizer.json in {self.root}; download it again.")
        return path

    @property
    def architecture(self) -> str:
        return str(self.config.get("model_type") or "unknown")

    def trained_context(self, fallback: int) -> int:
        for key in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"):
            value = self.config.get(key)
            if isinstance(value, int) and value > 0:
                return value
        return fallback

    def choose_templates(self, options: LoadOptions) -> TemplateChoice:
        """The chat templates, or what the user wants in their place."""
        return choose_templates(read_templates(self.root, self.tokenizer_config), options.chat_template, self.name)

    def special(self, role: str) -> str:
        """How the `bos` or `eos` token is written; empty where there is none."""
        value = self.tokenizer_config.get(f"{role}_token")
        if isinstance(value, dict):
            value = value.get("content")
        return value if isinstance(value, str) else ""

    @property
    def begin(self) -> str | None:
        """The token that goes before a text, where the configuration wants one."""
        return self.special("bos") if self.tokenizer_config.get("add_bos_token") is True else None

    @property
    def ends(self) -> frozenset[int]:
        return frozenset(
            token for source in (self.generation_config, self.config) for token in _integers(source.get("eos_token_id"))
        )

    @property
    def sampling(self) -> Sampling:
        """What the makers recommend, over the defaults."""
        said, default = self.generation_config, Sampling()
        if said.get("do_sample") is False:
            return Sampling(temperature=0.0)
        return Sampling(
            temperature=_number(said, "temperature", default.temperature),
            top_k=int(_number(said, "top_k", default.top_k)),
            top_p=_number(said, "top_p", default.top_p),
            min_p=_number(said, "min_p", default.min_p),
            repeat_penalty=_number(said, "repetition_penalty", default.repeat_penalty),
        )

    def read(self, file: str, *, needed: bool = False) -> Mapping[str, Any]:
        """An object of one of the folder's files; an empty one where the file is not there and not `needed`."""
        path = self.root / file
        if not path.is_file() and not needed:
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise ArtifactError(self.name, f"The file {path} of {self.name} cannot be read: {error}.") from error
        if not isinstance(found, dict):
            raise ArtifactError(self.name, f"The file {path} of {self.name} holds no JSON object; download it again.")
        return found


def _integers(value: object) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, int)]


def _number(source: Mapping[str, Any], key: str, default: float) -> float:
    value = source.get(key)
    return float(value) if isinstance(value, int | float) else default
