"""What a folder with a config.json says of its model: MLX and safetensors folders, and those of ONNX graphs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from core.contract.artifact import FormatName
from core.models.formats.header import Header, Portion
from core.models.formats.hf_attention import HEADS, WIDTHS, ProjectionRows
from core.models.formats.hf_config import (
    CONTEXTS,
    EXPERTS,
    HIDDEN,
    MOST_CONFIG_BYTES,
    PACKED_BITS,
    USED,
    Config,
    Quantized,
)
from core.models.formats.listing import count_weight_bytes
from core.models.formats.safetensors_table import SafeTensor, read_safetensors
from core.models.formats.source import Damaged, Files

PROJECTION: Final = re.compile(r"(?:^|\.)layers\.(\d+)\.(?:self_attn|attention|attn)\.([kv])_proj\.weight$")
OTHER_PARTS: Final = ("vision", "visual", "audio", "mtp.")
"""In the names of tensors that belong to no layer of the text part."""


def read_folder_header(format_: FormatName, name: str, files: Files) -> Header:
    """By config.json and the tables of the safetensors beside it. Raises Damaged, and what reading them raises."""
    sizes = files.sizes
    if "config.json" not in sizes:
        raise Damaged("there is no config.json")
    if sizes["config.json"] > MOST_CONFIG_BYTES:
        raise Damaged(f"its config.json has {sizes['config.json']} bytes")
    config = Config(files.open("config.json").read(0, MOST_CONFIG_BYTES))
    notes: list[str] = []
    quantized = config.quantized
    tables = [read_safetensors(files.open(path)) for path in sorted(sizes) if path.endswith(".safetensors")]
    parameters, weights, portions = _shards(tables, quantized)
    experts, used = config.number(*EXPERTS), config.number(*USED)
    return Header(
        format=format_,
        architecture=config.architecture,
        name=name,
        quantization=quantized.label,
        parameters=parameters,
        weight_bytes=weights or count_weight_bytes(sizes),
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


def _rows(tables: Iterable[Mapping[str, SafeTensor]]) -> Mapping[int, ProjectionRows]:
    """By layer, how wide keys and values are: the rows of their projections, which packing leaves as they are."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for tensors in tables:
        for name, tensor in tensors.items():
            told = PROJECTION.search(name)
            if told and tensor.shape and not any(part in name for part in OTHER_PARTS):
                found[int(told[1])][told[2]] = tensor.shape[0]
    # Where values have no projection, the keys serve as such.
    return {index: ProjectionRows(each["k"], each.get("v", each["k"])) for index, each in found.items() if "k" in each}


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


def _has_template(files: Files) -> bool:
    own = ("chat_template.jinja", "chat_template.json")
    return any(name in files.sizes for name in own) or _mentions(files, "tokenizer_config.json", (b'"chat_template"',))


def _mentions(files: Files, path: str, words: Iterable[bytes]) -> bool:
    if path not in files.sizes:
        return False
    data = files.open(path).read(0, MOST_CONFIG_BYTES)
    return any(word in data for word in words)
