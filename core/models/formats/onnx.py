"""ONNX graphs with a config.json: those that decode, that make vectors of texts, and that score pairs of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from core.models.catalog import Task
from core.models.formats.format import Format
from core.models.formats.header import Header
from core.models.formats.hf_header import read_folder_header
from core.models.formats.listing import FileListing, Group, list_names
from core.models.formats.source import Files

ENCODERS: Final = frozenset(
    {"bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "albert", "camembert", "electra", "deberta", "deberta-v2"}
    | {"ernie", "modernbert", "nomic_bert", "new", "gte"}
)
"""Model types, as config.json has them, of models that read a text as a whole."""
HEADS: Final = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForCausalLM")
"""Ends of the names of architectures that make something else than vectors."""
EMBEDDER_FILES: Final = ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json")
DATA: Final = re.compile(r"\.onnx([_.]data)(_\d+)?$")


SCORES: Final = "ForSequenceClassification"
"""The end of the names of architectures that score texts, or sort them into classes; the engine tells which."""


class OnnxFormat(Format):
    """Graphs that decode. Each graph of a folder is a model."""

    name = "onnx"
    hub_tag = "onnx"
    does = Task.CHAT
    """What the graphs are for."""

    def is_folder(self, folder: Path) -> bool:
        return any(folder.glob("*.onnx")) or any(folder.glob("onnx/*.onnx"))

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        paths = listing.sizes
        if "config.json" not in paths or any(path.endswith("genai_config.json") for path in paths):
            return
        if _find_task(listing) is not self.does:
            return
        extra = [path for path in paths if path in EMBEDDER_FILES and "/" in path]
        for path in paths:
            folder, _, name = path.rpartition("/")
            if folder in ("", "onnx") and name.startswith("model") and name.endswith(".onnx"):
                data = [each for each in paths if DATA.search(each) and DATA.sub(".onnx", each) == path]
                called = list_names(f"onnx-{_label(path)}", path, "" if folder else "onnx-")
                yield Group(called, (*listing.files_beside(), *extra, path, *data))

    def locate_model(self, folder: Path, files: Sequence[str], *, several: bool) -> Path:
        return folder / next(path for path in files if path.endswith(".onnx")) if several else folder

    def read_header(self, name: str, files: Files) -> Header:
        return read_graph_header(self, name, files)


class OnnxEmbedderFormat(OnnxFormat):
    """Graphs that make vectors of texts."""

    name = "onnx-embedder"
    label = "onnx"
    task = does = Task.EMBEDDING

    def is_folder(self, folder: Path) -> bool:
        return super().is_folder(folder) and _embeds(folder)


class OnnxRerankerFormat(OnnxFormat):
    """Graphs that score how well a text answers another (cross-encoders)."""

    name = "onnx-reranker"
    label = "onnx"
    task = does = Task.RERANK

    def is_folder(self, folder: Path) -> bool:
        return super().is_folder(folder) and not has_sentence_modules(folder) and _scores(_read_config(folder))


def read_graph_header(format_: Format, name: str, files: Files) -> Header:
    """By config.json where there is one. Raises as Format.read_header does."""
    if "config.json" not in files.sizes:
        return Format.read_header(format_, name, files)
    header = read_folder_header(format_.name, name, files)
    # The configuration describes the original weights; the name of the graph's file tells how they were quantized.
    graph = next((path for path in files.sizes if path.endswith(".onnx")), header.quantization)
    return replace(header, quantization=_label(graph))


def _label(path: str) -> str:
    name = path.rpartition("/")[2].removesuffix(".onnx")
    return name.removeprefix("model").removeprefix("_") or "fp32"


def _find_task(listing: FileListing) -> Task:
    if any(path in listing.sizes for path in EMBEDDER_FILES[:2]):
        return Task.EMBEDDING
    if listing.head.endswith(SCORES):
        return Task.RERANK
    return Task.EMBEDDING if listing.model_type in ENCODERS else Task.CHAT


def _embeds(folder: Path) -> bool:
    """Whether a folder holds an encoder: it has the files of sentence-transformers, or its configuration names one."""
    config = _read_config(folder)
    encodes = config.get("model_type") in ENCODERS and not any(each.endswith(HEADS) for each in _list_heads(config))
    return has_sentence_modules(folder) or encodes


def has_sentence_modules(folder: Path) -> bool:
    """Whether sentence-transformers wrote a folder: what is in it makes vectors, whatever its format."""
    return (folder / "modules.json").is_file() or (folder / "1_Pooling").is_dir()


def _scores(config: Mapping[str, object]) -> bool:
    return any(each.endswith(SCORES) for each in _list_heads(config))


def _list_heads(config: Mapping[str, object]) -> list[str]:
    architectures = config.get("architectures")
    return [str(each) for each in architectures] if isinstance(architectures, list) else []


def _read_config(folder: Path) -> Mapping[str, object]:
    """Nothing where it cannot be read: the engine says what is wrong with it."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
