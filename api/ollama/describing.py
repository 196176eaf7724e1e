"""Models as Ollama describes them: their details, what they can do, and what a header says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import UNSET

from api.ollama.replies import ModelDetails
from core.chat.parsers.registry import choose_family
from core.models.formats.header import Header
from core.models.library.file_facts import FileFacts
from core.snapshots import ModelKind, ModelSnapshot

UNKNOWN: Final = ("", "none", "unknown")
NUMBERS: Final = ((1e9, "B"), (1e6, "M"), (1e3, "K"))


def describe_details(format_: str, facts: FileFacts, loaded: ModelSnapshot | None = None) -> ModelDetails:
    """By its files, and by what is known of it since it was loaded."""
    header = facts.header
    family = (header.architecture if header else "") or (loaded.architecture if loaded else "")
    parameters = (header.parameters if header else 0) or (loaded.parameters if loaded else 0)
    quantization = (header.quantization if header else "") or (loaded.quantization if loaded else "")
    context = (loaded.context if loaded else None) or (header.trained_context if header else 0)
    return ModelDetails(
        format=format_,
        family="" if family in UNKNOWN else family,
        families=[] if family in UNKNOWN else [family],
        parameter_size=write_count(parameters) if parameters else "",
        quantization_level="" if quantization in UNKNOWN else quantization,
        context_length=context or UNSET,
        embedding_length=(header.width if header else 0) or UNSET,
    )


def write_count(parameters: int) -> str:
    """As Ollama writes numbers of parameters: 7.6B, 134.52M."""
    for size, letter in NUMBERS:
        if parameters >= size:
            digits = 1 if size == NUMBERS[0][0] else 2
            return f"{parameters / size:.{digits}f}{letter}"
    return str(parameters)


def list_capabilities(kind: ModelKind, template: str | None) -> list[str]:
    """By Ollama's words, of which there is none for ranking."""
    match kind:
        case ModelKind.CHAT:
            return ["completion", *_list_talents(template)]
        case ModelKind.EMBEDDING:
            return ["embedding"]
        case ModelKind.RERANKING:
            return []
        case ModelKind.TRANSCRIPTION:
            return ["audio"]


def _list_talents(template: str | None) -> Iterator[str]:
    family = choose_family(template)
    if template is None or family is None:
        return
    if family.calls is not None:
        yield "tools"
    if family.thought is not None:
        yield "thinking"


def list_model_info(header: Header | None) -> dict[str, str | int]:
    """By the keys that GGUF files have, whatever the format is."""
    if header is None:
        return {}
    family = header.architecture
    numbers = {
        "general.parameter_count": header.parameters,
        f"{family}.block_count": len(header.layers),
        f"{family}.context_length": header.trained_context,
        f"{family}.embedding_length": header.width,
        f"{family}.feed_forward_length": header.hidden,
        f"{family}.attention.head_count": header.heads,
        f"{family}.attention.head_count_kv": header.kv_heads,
        f"{family}.expert_count": header.experts,
        f"{family}.expert_used_count": header.experts_used,
        f"{family}.vocab_size": header.vocabulary,
    }
    told = {"general.architecture": family, "general.basename": header.name}
    return {**told, **{key: number for key, number in numbers.items() if number}}
