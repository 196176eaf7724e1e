"""What the JSON files beside a model's safetensors say of it. Needs no MLX."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from core.chat.sources import read_templates
from core.contract.artifact import Artifact
from core.errors import ArtifactError
from core.requests import Sampling

CONTEXTS = ("max_position_embeddings", "max_sequence_length", "seq_length", "n_positions", "max_seq_len")
"""Keys under which configurations tell the context that a model was trained on."""
SAMPLING = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repetition_penalty": "repeat_penalty",
}
"""Keys of generation_config.json, and our names for them."""


class MlxFolder(Struct, frozen=True):
    """config.json, generation_config.json, tokenizer_config.json and the chat templates."""

    path: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    templates: Mapping[str, str]
    """By their names."""

    @property
    def architecture(self) -> str:
        return str(self.config.get("model_type", "unknown"))

    @property
    def trained_context(self) -> int | None:
        """None where the configuration does not say."""
        for config in (self.config, self.config.get("text_config") or {}):
            for key in CONTEXTS:
                if isinstance(value := config.get(key), int):
                    return value
        return None

    @property
    def ends(self) -> frozenset[int]:
        """Ids of the tokens that end a generation."""
        text = self.config.get("text_config") or {}
        sources = (self.generation, self.config, text)
        return frozenset(token for source in sources for token in _ids(source.get("eos_token_id")))

    @property
    def quantization(self) -> str:
        """As `4-bit`, `MXFP4`, `BF16`."""
        how = self.config.get("quantization") or self.config.get("quantization_config")
        if isinstance(how, Mapping):
            mode = str(how.get("mode", "affine"))
            return f"{how.get('bits', '?')}-bit" if mode == "affine" else mode.upper()
        kinds = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
        return kinds.get(str(self.config.get("torch_dtype") or self.config.get("dtype")), "unknown")

    @property
    def begin(self) -> str | None:
        """The beginning-of-sequence token, where the tokenizer's configuration says that texts begin with it."""
        return self.token("bos") or None if self.tokenizer.get("add_bos_token") else None

    def token(self, which: str) -> str:
        """How `bos` or `eos` is written; empty where there is none."""
        value = self.tokenizer.get(f"{which}_token")
        return str(value.get("content", "")) if isinstance(value, Mapping) else str(value or "")

    def sampling(self) -> Sampling:
        """What the model's makers recommend, over the defaults."""
        found = {
            ours: type(getattr(Sampling(), ours))(value)
            for theirs, ours in SAMPLING.items()
            if isinstance(value := self.generation.get(theirs), int | float)
        }
        return replace(Sampling(), **found)


def read_folder(artifact: Artifact) -> MlxFolder:
    """Raises ArtifactError for what is missing or no JSON; only config.json must be there."""
    path = artifact.path
    tokenizer = _json(artifact, path / "tokenizer_config.json", required=False)
    return MlxFolder(
        path=path,
        config=_json(artifact, path / "config.json", required=True),
        generation=_json(artifact, path / "generation_config.json", required=False),
        tokenizer=tokenizer,
        templates=read_templates(path, tokenizer),
    )


def _json(artifact: Artifact, path: Path, *, required: bool) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        if not required:
            return {}
        raise ArtifactError(
            artifact.name, f"The folder {path.parent} has no {path.name}; download it again."
        ) from error
    except (OSError, ValueError) as error:
        raise ArtifactError(artifact.name, f"The file {path} cannot be read: {error}; download it again.") from error
    if not isinstance(content, dict):
        raise ArtifactError(artifact.name, f"The file {path} holds no JSON object; download it again.")
    return content


def _ids(value: object) -> Iterator[int]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, int):
            yield each
