"""The chat template in a folder of a model, as transformers writes it there."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from core.models.formats.hf_config import MOST_CONFIG_BYTES
from core.models.formats.source import Files

DEFAULT: Final = "default"


class _Named(Struct):
    name: str
    template: str


class _Holder(Struct):
    chat_template: Raw = Raw(b"null")


def read_folder_template(files: Files) -> str | None:
    """A file of its own goes before a field of another; of several the usual one. Raises what reading raises."""
    if "chat_template.jinja" in files.sizes:
        return _read(files, "chat_template.jinja").decode("utf-8", "replace")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if name in files.sizes and (found := _find_field(_read(files, name))):
            return found
    return None


def _read(files: Files, path: str) -> bytes:
    return files.open(path).read(0, MOST_CONFIG_BYTES)


def _find_field(data: bytes) -> str | None:
    """None too for a file that is none of JSON: whoever loads the model tells what is wrong with it."""
    try:
        raw = msgspec.json.decode(data, type=_Holder).chat_template
        told = msgspec.json.decode(raw, type=str | list[_Named] | None)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if isinstance(told, list):
        return next((each.template for each in told if each.name == DEFAULT), told[0].template if told else None)
    return told
