"""What lies in a folder of MNN's LLM exporter, and what its JSON files say. Needs no MNN.

The keys are those of transformers/llm/export/llmexport.py and transformers/llm/engine/src/llmconfig.hpp of
https://github.com/alibaba/MNN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from core.chat.sources import TemplateChoice, choose_templates, read_templates
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.errors import ArtifactError, LoadFailed
from core.requests import Sampling

CONTEXTS: Final = ("max_position_embeddings", "max_all_tokens")
"""Keys that may tell the context; most exports have neither."""
TOKENIZERS: Final = ("tokenizer.mtok", "tokenizer.txt")
"""Newest first."""
MAGIC: Final = "430"
"""What a tokenizer's file begins with, whichever of its formats follows."""
BINARY: Final = "4"
"""The format of which only the head is text."""
SAMPLING: Final = {
    "temperature": "temperature",
    "topK": "top_k",
    "topP": "top_p",
    "minP": "min_p",
    "typical": "typical_p",
    "penalty": "repeat_penalty",
}
"""Keys of config.json, and our names for them."""
MULTIMODAL: Final = {"is_visual": "images", "is_audio": "sound", "has_talker": "speech"}
HALF_BYTES: Final = 2
"""Bytes of a bf16 number."""


class Controls(Struct, frozen=True):
    """The head of a tokenizer's file."""

    special: tuple[int, ...]
    """Tokens that `encode` reads in a text as a whole."""
    ends: tuple[int, ...]
    """Tokens that end a turn."""
    prefix: tuple[int, ...]
    """Tokens that go before every text."""


class MnnFolder(Struct, frozen=True):
    """config.json over llm_config.json, and the files they name, all of which are there."""

    name: str
    path: Path
    config: Mapping[str, Any]
    graph: Path
    weights: Path
    tokenizer: Path
    embeddings: Path | None
    """None where they are the weights of the last layer."""

    @property
    def architecture(self) -> str:
        return str(self.config.get("model_type") or "unknown")

    @property
    def trained_context(self) -> int | None:
        return next((value for key in CONTEXTS if (value := _whole(self.config.get(key)))), None)

    @property
    def kv_elements(self) -> int:
        """Numbers that a token leaves in the KV cache; zero where the folder does not tell."""
        shape = self.config.get("key_value_shape")
        layers = _whole(self.config.get("layer_nums"))
        if not layers or not isinstance(shape, list) or len(shape) < HALF_BYTES:
            return 0
        heads, width = _whole(shape[-2]), _whole(shape[-1])
        return 2 * layers * (heads or 0) * (width or 0)

    @property
    def quantization(self) -> str:
        """That of the last layer, which is the one the folder tells."""
        tied = self.config.get("tie_embeddings")
        if not isinstance(tied, list) or len(tied) <= 3:
            return "unknown"
        return "F16" if tied[3] == 16 else f"{tied[3]}-bit"

    @property
    def weight_bytes(self) -> int:
        parts = (self.weights, self.embeddings)
        return sum(part.stat().st_size for part in parts if part is not None)

    def choose_templates(self, options: LoadOptions) -> TemplateChoice:
        """The chat templates, or what the user wants in their place."""
        return choose_templates(read_templates(self.path, self._jinja), options.chat_template, self.name)

    def special(self, role: str) -> str:
        """How the `bos` or `eos` token is written; empty where the folder does not tell."""
        return str(self._jinja.get(role) or "")

    @property
    def sampling(self) -> Sampling:
        """What the config recommends, over the defaults."""
        if self.config.get("sampler_type") == "greedy":
            return Sampling(temperature=0.0)
        found = {
            ours: type(getattr(Sampling(), ours))(value)
            for theirs, ours in SAMPLING.items()
            if isinstance(value := self.config.get(theirs), int | float) and not isinstance(value, bool)
        }
        return replace(Sampling(), **found)

    def controls(self) -> Controls:
        """The control tokens. Raises ArtifactError when the tokenizer's file does not begin as one."""
        try:
            lines = self.tokenizer.read_bytes().split(b"\n")
            magic, counts, numbers = (line.decode().split() for line in lines[:3])
            if magic[:1] != [MAGIC]:
                raise ValueError("it does not begin as one of MNN's tokenizers")
            special, ends, prefix = (int(count) for count in counts)
            ids = [int(number) for number in numbers]
            if len(ids) != special + ends + prefix:
                raise ValueError("its control tokens are not as many as it says")
            # MNN reads on past the end, and crashes at a text that is no number.
            if magic[1:] != [BINARY] and len(lines) - 4 < sum(int(size) for size in lines[3].split()):
                raise ValueError("it is cut short")
        except IndexError:
            raise ArtifactError(self.name, f"The tokenizer {self.tokenizer} is cut short; download it again.") from None
        except (OSError, ValueError) as error:
            raise ArtifactError(
                self.name, f"The tokenizer {self.tokenizer} cannot be read: {error}; download it again."
            ) from error
        return Controls(tuple(ids[:special]), tuple(ids[special : special + ends]), tuple(ids[special + ends :]))

    @property
    def _jinja(self) -> Mapping[str, Any]:
        found = self.config.get("jinja")
        return found if isinstance(found, dict) else {}


def read_folder(artifact: Artifact) -> MnnFolder:
    """Raises ArtifactError for what is missing, cut short or no JSON, LoadFailed for what this engine does not run."""
    path = artifact.path
    config = _json(artifact, path / "config.json")
    llm = _json(artifact, path / str(config.get("llm_config") or "llm_config.json"))
    # MNN too lets the first mention of a key stand.
    config = {**llm, **config}
    _refuse_foreign(artifact, config)
    tied = config.get("tie_embeddings")
    names = (config.get("tokenizer_file"), *TOKENIZERS)
    tokenizer = next(
        (path / str(name) for name in names if name and (path / str(name)).is_file()), path / TOKENIZERS[0]
    )
    folder = MnnFolder(
        name=artifact.name,
        path=path,
        config=config,
        graph=path / str(config.get("llm_model") or "llm.mnn"),
        weights=path / str(config.get("llm_weight") or "llm.mnn.weight"),
        tokenizer=tokenizer,
        embeddings=_embeddings(path, config, tied),
    )
    _refuse_incomplete(folder, tied)
    return folder


def _embeddings(path: Path, config: Mapping[str, Any], tied: object) -> Path | None:
    if isinstance(tied, list) and tied and tied[0]:
        return None
    return path / str(config.get("embedding_file") or "embeddings_bf16.bin")


def _refuse_foreign(artifact: Artifact, config: Mapping[str, Any]) -> None:
    for key, what in MULTIMODAL.items():
        if config.get(key):
            raise LoadFailed(artifact.name, f"{artifact.name} takes or makes {what}; only text models run on mnn here.")
    if config.get("attention_mask") != "float":
        raise LoadFailed(
            artifact.name,
            f"{artifact.name} was exported with the attention mask {config.get('attention_mask')!r}, "
            "which this engine does not know; export it anew with a current llmexport.",
        )
    if not _whole(config.get("hidden_size")):
        raise ArtifactError(artifact.name, f"The llm_config.json of {artifact.name} names no hidden_size.")


def _refuse_incomplete(folder: MnnFolder, tied: object) -> None:
    for part in (folder.graph, folder.weights, folder.tokenizer, folder.embeddings):
        if part is not None and not (part.is_file() and part.stat().st_size):
            raise ArtifactError(
                folder.name, f"The folder {folder.path} has no {part.name}, or an empty one; download it again."
            )
    if folder.embeddings is None and isinstance(tied, list) and len(tied) > 2:
        # MNN reads past the end of a file without a word. The tied layer is the last, so it tells how long the file is.
        short = folder.weights.stat().st_size < sum(value for value in tied[1:3] if isinstance(value, int))
        cut = folder.weights if short else None
    else:
        cut = folder.embeddings if _ragged(folder, tied) else None
    if cut is not None:
        raise ArtifactError(folder.name, f"The file {cut} is cut short; download it again.")


def _ragged(folder: MnnFolder, tied: object) -> bool:
    """Whether embeddings in bf16 end within a row."""
    if folder.embeddings is None or isinstance(tied, list):
        return False
    return folder.embeddings.stat().st_size % (HALF_BYTES * int(folder.config["hidden_size"])) != 0


def _json(artifact: Artifact, path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise ArtifactError(
            artifact.name, f"The folder {path.parent} has no {path.name}; download it again."
        ) from error
    except (OSError, ValueError) as error:
        raise ArtifactError(artifact.name, f"The file {path} cannot be read: {error}; download it again.") from error
    if not isinstance(content, dict):
        raise ArtifactError(artifact.name, f"The file {path} holds no JSON object; download it again.")
    return content


def _whole(value: object) -> int | None:
    """A positive whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
