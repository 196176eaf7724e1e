"""ONNX graphs with a config.json: those that decode, and those that make vectors of texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
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


class OnnxFormat(Format):
    """Graphs that decode. Each graph of a folder is a model."""

    name = "onnx"
    hub_tag = "onnx"
    embeds = False
    """Whether the graphs make vectors."""

    def is_folder(self, folder: Path) -> bool:
        return any(folder.glob("*.onnx")) or any(folder.glob("onnx/*.onnx"))

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        paths = listing.sizes
        if "config.json" not in paths or any(path.endswith("genai_config.json") for path in paths):
            return
        embeds = any(path in paths for path in EMBEDDER_FILES[:2]) or listing.model_type in ENCODERS
        if embeds is not self.embeds:
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
    task = Task.EMBEDDING
    embeds = True

    def is_folder(self, folder: Path) -> bool:
        return super().is_folder(folder) and _embeds(folder)


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


def _embeds(folder: Path) -> bool:
    """Whether a folder holds an encoder: it has the files of sentence-transformers, or its configuration names one."""
    if (folder / "modules.json").is_file() or (folder / "1_Pooling").is_dir():
        return True
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        # The engine says what is wrong with it.
        return False
    if not isinstance(config, dict) or config.get("model_type") not in ENCODERS:
        return False
    architectures = config.get("architectures")
    named = architectures if isinstance(architectures, list) else []
    return not any(str(each).endswith(HEADS) for each in named)
