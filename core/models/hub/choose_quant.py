"""Which of a repository's models a name asks for: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from core.contract.artifact import FormatName
from core.errors import ModelNotFound
from core.models.formats.registry import FORMATS
from core.models.hub.repository import Quant, Repository
from core.names import HubName
from core.sizes import format_size

ORDER: Final = tuple(FORMATS)
"""The formats in the usual order of preference."""
USUAL: Final = "Q4_K_M"
BITS: Final[Mapping[str, float]] = (
    {"IQ1_S": 1.56, "IQ1_M": 1.75, "TQ1_0": 1.69, "IQ2_XXS": 2.06, "TQ2_0": 2.06, "IQ2_XS": 2.31, "IQ2_S": 2.5}
    | {"IQ2_M": 2.7, "Q2_K": 2.96, "Q2_K_S": 2.75, "Q2_K_L": 3.1, "Q2_K_XL": 3.1, "IQ3_XXS": 3.06, "IQ3_XS": 3.3}
    | {"IQ3_S": 3.44, "IQ3_M": 3.66, "Q3_K_S": 3.5, "Q3_K_M": 3.91, "Q3_K_L": 4.27, "Q3_K_XL": 4.3, "IQ4_XS": 4.25}
    | {"MXFP4": 4.25, "MXFP4_MOE": 4.3, "NVFP4": 4.5, "IQ4_NL": 4.5, "Q4_0": 4.55, "Q4_K_S": 4.58, "Q4_K_M": 4.85}
    | {"Q4_K_XL": 4.9, "Q4_K_L": 5.0, "Q4_1": 5.0, "Q5_0": 5.5, "Q5_K_S": 5.5, "Q5_K_M": 5.69, "Q5_K_L": 5.8}
    | {"Q5_K_XL": 5.8, "Q5_1": 6.0, "Q6_K": 6.56, "Q6_K_L": 6.7, "Q6_K_XL": 6.7, "Q8_0": 8.5, "Q8_K_XL": 9.0}
    | {"F16": 16.0, "BF16": 16.01, "F32": 32.0}
)
"""Bits of a weight, as llama.cpp's `quantize` tells them; of a label that several use, those of the usual recipe."""
WIDTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "4bit": (
        *(USUAL, "UD-Q4_K_XL", "Q4_K_S", "Q4_0", "IQ4_NL", "IQ4_XS", "MXFP4", "MXFP4_MOE", "4bit", "4-bit", "mxfp4"),
        *("onnx-q4", "onnx-int4", "onnx-bnb4", "onnx-q4f16", "mnn"),
    ),
    "8bit": ("Q8_0", "UD-Q8_K_XL", "8bit", "8-bit", "onnx-int8", "onnx-quantized", "onnx-q8", "onnx-uint8"),
    "fp16": ("F16", "BF16", "fp16", "onnx-fp16", "onnx-float16", "onnx-bf16"),
}
"""What a width means in each format, the best first."""
MOST_SHOWN_QUANTS: Final = 12


def choose_quant(name: HubName, repository: Repository, formats: Sequence[FormatName] = ORDER) -> Quant:
    """The model of a listed repository that a name asks for: by its file, its label, its width; else the usual one.

    Of several that fit, the one whose format comes first in `formats`; other formats are not considered. Raises
    ModelNotFound, with what there is, when there is none.
    """
    able = [quant for quant in repository.quants if quant.format in formats]
    found = _asked(name, able) if name.file or name.label else able
    if not found:
        raise ModelNotFound(str(name), _absent(name, repository, able))
    first = min((quant.format for quant in found), key=formats.index)
    return _usual([quant for quant in found if quant.format == first])


def _asked(name: HubName, able: Sequence[Quant]) -> list[Quant]:
    if name.file is not None:
        return _holding(name.file, able)
    label = (name.label or "").lower()
    exact = [quant for quant in able if label in (quant.label.lower(), quant.label.lower().removeprefix("onnx-"))]
    return [*exact, *_besides(label, able, {quant.format for quant in exact})] or _as_wide(label, able)


def _besides(label: str, able: Sequence[Quant], without: Collection[FormatName]) -> list[Quant]:
    """The quants that have `name` as a second name. A format in which several have it gives none."""
    found: dict[FormatName, list[Quant]] = defaultdict(list)
    for quant in able:
        if quant.format not in without and label in _names(quant):
            found[quant.format].append(quant)
    return [quants[0] for quants in found.values() if len(quants) < 2]


def _names(quant: Quant) -> list[str]:
    return [each.lower() for each in (quant.label, *quant.also)]


def _holding(file: str, able: Sequence[Quant]) -> list[Quant]:
    """The quant that holds a file, or files in a folder, of that name; none where several do (`tokenizer.json`)."""
    found = [quant for quant in able if any(each.path == file for each in quant.files)]
    found = found or [quant for quant in able if any(each.path.startswith(f"{file}/") for each in quant.files)]
    return found if len(found) < 2 else []


def _as_wide(label: str, able: Sequence[Quant]) -> list[Quant]:
    """The best quant of a width in each format."""
    best: dict[FormatName, Quant] = {}
    for usual in (each.lower() for each in WIDTHS.get(label, ())):
        for quant in able:
            if usual == quant.label.lower():
                best.setdefault(quant.format, quant)
        for quant in _besides(usual, able, best):
            best[quant.format] = quant
    return list(best.values())


def _usual(quants: Sequence[Quant]) -> Quant:
    """Of the quants of one format: Q4_K_M or the nearest to it, else one of four bits, else the smallest."""
    if any(read_bits(quant.label) is not None for quant in quants):
        known = [(quant, bits) for quant in quants if (bits := read_bits(quant.label)) is not None]
        # Between two as near, the smaller; a recipe of someone's own only where the usual one is not there.
        return min(known, key=lambda each: (abs(each[1] - BITS[USUAL]), each[1], len(each[0].label)))[0]
    narrow = [each.lower() for each in WIDTHS["4bit"]]
    return min(
        quants,
        key=lambda quant: (
            narrow.index(quant.label.lower()) if quant.label.lower() in narrow else len(narrow),
            quant.size,
            quant.label,
        ),
    )


def read_bits(label: str) -> float | None:
    """Bits of a weight in a GGUF quant; None for a label that is none."""
    return BITS.get(label.upper().removeprefix("UD-"))


def _absent(name: HubName, repository: Repository, able: Sequence[Quant]) -> str:
    if not repository.quants:
        return f"{repository.id} holds nothing that can be run here; look for a repository with GGUF files."
    if not able:
        return f"{repository.id} holds only {_listed(repository.quants)}, which cannot be run here."
    if name.file and any(file.path == name.file for file in repository.files):
        return f"{name.file} in {repository.id} is no model by itself; choose among {_listed(able)}."
    return f"{repository.id} has no {name.file or name.label}; it has {_listed(able)}."


def _listed(quants: Sequence[Quant]) -> str:
    """Labels, each with its size where that is told."""
    said = [f"{quant.label} ({format_size(quant.size)})" if quant.size >= 1e8 else quant.label for quant in quants]
    more = f" and {len(said) - MOST_SHOWN_QUANTS} more" if len(said) > MOST_SHOWN_QUANTS else ""
    return ", ".join(said[:MOST_SHOWN_QUANTS]) + more
