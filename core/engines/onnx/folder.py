"""What lies in the folder of an ONNX model: which graph to take, and what its JSON files say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from core.contract.artifact import Artifact
from core.errors import ArtifactError
from core.requests import Sampling

SMALL: Final = 1 << 30
"""Bytes of a full-precision graph that a processor still reads quickly for each token."""
FULL = ""
HALF = ("fp16", "bf16", "float16")
FOUR_BITS = ("q4", "int4", "bnb4", "q4f16")
EIGHT_BITS = ("q8", "quantized", "int8", "uint8")
ON_PROCESSOR: Final = ("q4", "int4", *EIGHT_BITS, FULL, "bnb4", *HALF, "q4f16")
"""Blocks of four bits keep activations in full precision, which the eight-bit graphs do not; halves are emulated."""
ON_ACCELERATOR: Final = (*HALF, "q4f16", FULL, *FOUR_BITS, *EIGHT_BITS)


class Variant(Struct, frozen=True):
    """One of the graphs in a folder."""

    path: Path
    label: str
    """What follows `model_` in the file's name; empty for `model.onnx`, which is in full precision."""
    size: int
    """Bytes, with the external data beside it."""

    @property
    def quantization(self) -> str:
        return self.label or "fp32"

    @property
    def parameters(self) -> int:
        """Told by the size where nothing is quantized; else zero, which means unknown."""
        width = 4 if self.label == FULL else 2 if self.label in HALF else 0
        return self.size // width if width else 0


class ModelFolder:
    """Reads a folder as public repositories lay it out. Raises ArtifactError for what is missing or damaged."""

    def __init__(self, artifact: Artifact) -> None:
        self.name = artifact.name
        path = artifact.path
        self._asked = path if path.suffix == ".onnx" else None
        self.root = path if self._asked is None else _root_of(path)

    def variant(self, *, accelerated: bool) -> tuple[Variant, tuple[str, ...]]:
        """The graph to take, and the labels of the others."""
        found = self._variants()
        chosen = choose(found, accelerated=accelerated) if self._asked is None else _read_variant(self._asked)
        return chosen, tuple(sorted(each.quantization for each in found if each.path != chosen.path))

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

    @property
    def template(self) -> str | None:
        """The Jinja source of the chat template: a file of its own, or a field; `default` where there are several."""
        path = self.root / "chat_template.jinja"
        if path.is_file():
            return path.read_text(encoding="utf-8-sig")
        found = self.tokenizer_config.get("chat_template")
        if isinstance(found, list):
            named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
            found = named.get("default") or next(iter(named.values()), None)
        return found if isinstance(found, str) else None

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

    def _variants(self) -> list[Variant]:
        places = (self.root / "onnx", self.root)
        found = [
            _read_variant(path) for place in places if place.is_dir() for path in sorted(place.glob("model*.onnx"))
        ]
        if not found:
            others = sorted(path.name for place in places for path in place.glob("*.onnx"))
            said = f"only {', '.join(others[:4])}" if others else "no graph at all"
            raise ArtifactError(self.name, f"{self.name} has no onnx/model*.onnx but {said}; export it again.")
        return found

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


def choose(variants: Iterable[Variant], *, accelerated: bool) -> Variant:
    """Pure choice among at least one: full precision while it is small, else what is read fastest where it runs."""
    found = list(variants)
    if not accelerated:
        small = [each for each in found if each.label == FULL and each.size <= SMALL]
        if small:
            return small[0]
    order = ON_ACCELERATOR if accelerated else ON_PROCESSOR
    return min(found, key=lambda each: order.index(each.label) if each.label in order else len(order))


def _read_variant(path: Path) -> Variant:
    try:
        parts = [path, *path.parent.glob(f"{path.name}_data*"), *path.parent.glob(f"{path.name}.data*")]
        size = sum(part.stat().st_size for part in parts)
    except OSError as error:
        raise ArtifactError(path.name, f"The file {path} cannot be read: {error.strerror}.") from error
    return Variant(path, path.stem.removeprefix("model").removeprefix("_"), size)


def _root_of(path: Path) -> Path:
    return path.parent.parent if path.parent.name == "onnx" else path.parent


def _integers(value: object) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, int)]


def _number(source: Mapping[str, Any], key: str, default: float) -> float:
    value = source.get(key)
    return float(value) if isinstance(value, int | float) else default
