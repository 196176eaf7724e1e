"""Reads the header of a model of any format, from a file or folder here or elsewhere."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from core.contract.artifact import Artifact, FormatName
from core.errors import ArtifactError
from core.models.formats.detect import WHISPER_COUNTS, WHISPER_MAGIC, Damaged
from core.models.formats.gguf import read_gguf
from core.models.formats.gguf_facts import Whole, describe
from core.models.formats.header import Header, Portion
from core.models.formats.hf_attention import HEADS, WIDTHS, Rows
from core.models.formats.hf_config import CONTEXTS, EXPERTS, HIDDEN, PACKED_BITS, USED, Config, Quantized
from core.models.formats.hf_config import LONGEST as LONGEST_CONFIG
from core.models.formats.parts import parts_of
from core.models.formats.safetensors import SafeTensor, read_safetensors
from core.models.formats.source import Files, FolderFiles
from core.names import SPLIT

PROJECTION: Final = re.compile(r"(?:^|\.)layers\.(\d+)\.(?:self_attn|attention|attn)\.([kv])_proj\.weight$")
OTHER_PARTS: Final = ("vision", "visual", "audio", "mtp.")
"""In the names of tensors that belong to no layer of the text part."""
WEIGHTS: Final = (".safetensors", ".onnx", ".onnx_data", ".gguf", ".bin", ".pte", ".mnn", ".weight", ".data")
FOLDERS: Final = frozenset({"mlx", "onnx", "onnx-embedder", "onnx-genai"})


def read_header(artifact: Artifact) -> Header:
    """Of a model on this machine. Raises ArtifactError for what is missing or damaged."""
    path = artifact.path
    try:
        if path.is_dir():
            files = FolderFiles(path)
        else:
            there = [part.name for part in parts_of(path) if part.is_file()]
            files = FolderFiles(path.parent, tuple(there or [path.name]))
        return header_of(artifact.format, artifact.name, files)
    except OSError as error:
        raise ArtifactError(artifact.name, f"The file {path} cannot be read: {error.strerror}.") from error


def header_of(format_: FormatName, name: str, files: Files) -> Header:
    """Of a model that is all of `files`. Raises ArtifactError, and what reading them raises."""
    if not files.sizes:
        raise ArtifactError(name, f"{name} has no files; check the path, or download it again.")
    try:
        if format_ == "gguf":
            return _gguf(name, files)
        if format_ == "ggml-whisper":
            return _whisper(name, files)
        if format_ in FOLDERS and ("config.json" in files.sizes or format_ == "mlx"):
            return _folder(format_, name, files)
    except Damaged as error:
        raise ArtifactError(name, f"The header of {name} cannot be read: {error}; download it again.") from error
    note = "Files of this kind do not tell what memory they need; only the weights are counted."
    return Header(format_, "unknown", name, "unknown", 0, _weight_bytes(files.sizes), (), 0, notes=(note,))


def _gguf(name: str, files: Files) -> Header:
    paths = sorted(path for path in files.sizes if path.lower().endswith(".gguf"))
    if not paths:
        raise Damaged("there is no *.gguf file")
    found = SPLIT.search(paths[0])
    header = read_gguf(files.open(paths[0]))
    if found is None:
        return describe(header, name)
    count = int(found[2])
    if len(paths) != count:
        raise Damaged(f"it is split into {count} files, of which {len(paths)} are there")
    return describe(header, name, Whole(count, sum(files.sizes[path] for path in paths)))


def _whisper(name: str, files: Files) -> Header:
    """The counts at the beginning; ggml's file types count versions of a quantization in thousands."""
    from core.models.formats.whisper import QUANTIZATIONS

    path, size = next(iter(files.sizes.items()))
    head = files.open(path).read(0, 48)
    if len(head) < 48 or head[:4] != WHISPER_MAGIC:
        raise Damaged("it does not begin as a ggml file does")
    told = dict(zip(WHISPER_COUNTS, struct.unpack_from("<11i", head, 4), strict=True))
    if any(not least <= told[key] <= most for key, (least, most) in WHISPER_COUNTS.items()):
        raise Damaged("it is a ggml file but no whisper model")
    return Header(
        format="ggml-whisper",
        architecture="whisper",
        name=name,
        quantization=QUANTIZATIONS.get(told["ftype"] % 1000, f"type {told['ftype']}"),
        parameters=0,
        weight_bytes=size,
        layers=(),
        trained_context=told["n_text_ctx"],
        width=told["n_text_state"],
        heads=told["n_text_head"],
        vocabulary=told["n_vocab"],
        notes=("What decoding speech takes beside the weights is not counted.",),
    )


def _folder(format_: FormatName, name: str, files: Files) -> Header:
    sizes = files.sizes
    if "config.json" not in sizes:
        raise Damaged("there is no config.json")
    if sizes["config.json"] > LONGEST_CONFIG:
        raise Damaged(f"its config.json has {sizes['config.json']} bytes")
    config = Config(files.open("config.json").read(0, LONGEST_CONFIG))
    notes: list[str] = []
    quantized = config.quantized
    tables = [read_safetensors(files.open(path)) for path in sorted(sizes) if path.endswith(".safetensors")]
    parameters, weights, portions = _shards(tables, quantized)
    label = quantized.label
    if format_ != "mlx":
        # What a graph holds differs from what the configuration was written for; the file's name tells it.
        label = next((path for path in sizes if path.endswith(".onnx")), label).rpartition("/")[2]
        label = label.removesuffix(".onnx").removeprefix("model").removeprefix("_") or "fp32"
    experts, used = config.number(*EXPERTS), config.number(*USED)
    return Header(
        format=format_,
        architecture=config.architecture,
        name=name,
        quantization=label,
        parameters=parameters,
        weight_bytes=weights or _weight_bytes(sizes),
        layers=config.layers(notes, _rows(tables)),
        trained_context=config.number(*CONTEXTS),
        width=config.number(*WIDTHS),
        hidden=max(config.number(*HIDDEN), used * config.number("moe_intermediate_size")),
        heads=config.number(*HEADS),
        vocabulary=config.number("vocab_size"),
        experts=experts,
        experts_used=used,
        template=_has_template(files),
        portions=portions,
        notes=tuple(notes),
    )


def _shards(tables: Iterable[Mapping[str, SafeTensor]], quantized: Quantized) -> tuple[int, int, tuple[Portion, ...]]:
    """Parameters, bytes and types of all safetensors files; zero where there are none."""
    parameters = weights = 0
    by_type: dict[str, int] = defaultdict(int)
    for tensors in tables:
        parameters += _parameters(tensors, quantized.bits)
        weights += sum(tensor.bytes for tensor in tensors.values())
        for tensor in tensors.values():
            by_type[tensor.dtype] += tensor.bytes
    largest = sorted(by_type.items(), key=lambda item: (-item[1], item[0]))
    return parameters, weights, tuple(Portion(kind, size) for kind, size in largest)


def _rows(tables: Iterable[Mapping[str, SafeTensor]]) -> Mapping[int, Rows]:
    """By layer, how wide keys and values are: the rows of their projections, which packing leaves as they are."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for tensors in tables:
        for name, tensor in tensors.items():
            told = PROJECTION.search(name)
            if told and tensor.shape and not any(part in name for part in OTHER_PARTS):
                found[int(told[1])][told[2]] = tensor.shape[0]
    # Where values have no projection, the keys serve as such.
    return {index: Rows(each["k"], each.get("v", each["k"])) for index, each in found.items() if "k" in each}


def _parameters(tensors: Mapping[str, SafeTensor], bits: int | None) -> int:
    """Weights packed into integers are unpacked; the scales beside them are no parameters."""
    count = 0
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        if last in ("scales", "qzeros", "g_idx") or (last == "biases" and f"{stem}.scales" in tensors):
            continue
        packed = bits is not None and tensor.dtype in ("U32", "I32")
        count += tensor.elements * PACKED_BITS // bits if packed and bits else tensor.elements
    return count


def _weight_bytes(sizes: Mapping[str, int]) -> int:
    return sum(size for path, size in sizes.items() if _is_weights(path)) or sum(sizes.values())


def _is_weights(path: str) -> bool:
    return path.endswith(WEIGHTS) or ".onnx_data" in path


def _has_template(files: Files) -> bool:
    return "chat_template.jinja" in files.sizes or _mentions(files, "tokenizer_config.json", (b'"chat_template"',))


def _mentions(files: Files, path: str, words: Iterable[bytes]) -> bool:
    if path not in files.sizes:
        return False
    data = files.open(path).read(0, LONGEST_CONFIG)
    return any(word in data for word in words)
