"""Which model, quant and engine wrote an answer, and with which settings: kept with it, and shown beside it."""

from __future__ import annotations

import msgspec

from core.conversations.settings import ChatSettings
from core.conversations.tree import AnswerWriter
from core.snapshots import Snapshot


def describe_writer(served: str, snapshot: Snapshot | None, settings: ChatSettings) -> AnswerWriter:
    """Of a model by the name that it is served by."""
    models = snapshot.models if snapshot is not None else ()
    model = next((each for each in models if each.name == served), None)
    return AnswerWriter(
        served.rsplit("/", 1)[-1],
        _shorten_quant(model.quantization) if model is not None else "",
        model.engine if model is not None else "",
        encode_settings(settings),
    )


def _shorten_quant(told: str) -> str:
    """llama.cpp tells `Q4_K - Medium` where files say `Q4_K_M`."""
    name, _, size = told.partition(" - ")
    return f"{name}_{size[0]}" if size in ("Small", "Medium", "Large") else told


def format_writer(writer: AnswerWriter, dot: str) -> str:
    """In a few words; a quant that the name tells already is told once."""
    quant = "" if writer.quant.lower() in writer.model.lower() else writer.quant
    told = decode_settings(writer.settings).list_differences()
    return f" {dot} ".join(each for each in (writer.model, quant, writer.engine, *told) if each)


def encode_settings(settings: ChatSettings) -> str:
    """As they are kept with a conversation: JSON of what is set."""
    return msgspec.json.encode(settings).decode()


def decode_settings(text: str) -> ChatSettings:
    """What was kept; nothing is set where it cannot be read, as of another version."""
    try:
        return msgspec.json.decode(text, type=ChatSettings)
    except msgspec.MsgspecError:
        return ChatSettings()
