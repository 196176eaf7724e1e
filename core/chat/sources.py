"""Where a model's chat templates are: in its folder, under names of their own, or where the user says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from core.chat.common_templates import COMMON_TEMPLATES
from core.chat.wire import MOST_SOURCE_CHARACTERS
from core.contract.options import is_template_path
from core.errors import LoadFailed
from core.files import read_regular
from core.text_files import drop_mark

DEFAULT: Final = "default"
TOOL_USE: Final = "tool_use"
"""The name of the template for requests with tools, as Hugging Face has it."""
FOLDERS: Final = ("additional_chat_templates", "chat_templates")
"""Folders with templates whose names are those of the files."""
SUFFIX: Final = ".jinja"
MOST_FILE_BYTES: Final = 4 * MOST_SOURCE_CHARACTERS


class TemplateChoice(Struct, frozen=True):
    """The Jinja sources that a model's conversations are written with."""

    usual: str | None = None
    with_tools: str | None = None
    """For requests with tools, where that is another one."""


def read_templates(folder: Path, tokenizer: Mapping[str, Any]) -> dict[str, str]:
    """The templates in a model's folder by their names, as the transformers library finds them; `tokenizer` is what
    tokenizer_config.json says. A file of its own goes before a field."""
    found = _named(tokenizer.get("chat_template"))
    found |= _named(_read_json(folder / "chat_template.json").get("chat_template"))
    for name in FOLDERS:
        found |= {path.stem: text for path in sorted((folder / name).glob(f"*{SUFFIX}")) if (text := _read(path))}
    whole = _read(folder / "chat_template.jinja")
    return {**found, DEFAULT: whole} if whole else found


def choose_templates(own: Mapping[str, str], wish: str | tuple[str, ...] | None, model: str) -> TemplateChoice:
    """Of the templates that a model has, or what the user wants in their place: the name of one of them or of a common
    one, a file, or a Jinja text, which may come in pieces. Raises LoadFailed, which names the model, for a file that
    cannot be read."""
    if not wish:
        usual = own.get(DEFAULT) or next((text for name, text in own.items() if name != TOOL_USE), None)
        return TemplateChoice(usual or own.get(TOOL_USE), own.get(TOOL_USE) if usual else None)
    if not isinstance(wish, str):
        return TemplateChoice("".join(wish))
    if wish in own:
        return TemplateChoice(own[wish])
    if wish in COMMON_TEMPLATES:
        return TemplateChoice(COMMON_TEMPLATES[wish])
    if is_template_path(wish):
        return TemplateChoice(_read_wish(Path(wish).expanduser(), model))
    if "{" in wish:
        return TemplateChoice(wish)
    there = ", ".join(own) or "none"
    raise LoadFailed(
        model,
        f"The model {model} has no chat template {wish!r}; by name it has {there}, and any model can be given "
        f"{', '.join(COMMON_TEMPLATES)}. A file's name ends in {SUFFIX}, and a Jinja text has braces.",
    )


def check_template(wish: str | tuple[str, ...] | None, model: str) -> None:
    """Raises LoadFailed, as `choose_templates` does, where the user wants a file that cannot be read."""
    if isinstance(wish, str) and is_template_path(wish):
        _read_wish(Path(wish).expanduser(), model)


def _read_wish(path: Path, model: str) -> str:
    try:
        text = drop_mark(read_regular(path, MOST_FILE_BYTES)).decode("utf-8", "replace")
    except OSError as error:
        raise LoadFailed(
            model, f"The chat template {path} cannot be read ({error.strerror or error}); correct chat_template."
        ) from error
    if path.suffix != ".json":
        return text
    try:
        named = _named(json.loads(text).get("chat_template"))
    except (ValueError, AttributeError):
        named = {}
    if not named:
        raise LoadFailed(model, f"The file {path} holds no chat template; correct chat_template.")
    return named.get(DEFAULT) or next(iter(named.values()))


def _named(found: object) -> dict[str, str]:
    """A template by itself, a list of named ones, or a table of them."""
    match found:
        case str():
            return {DEFAULT: found} if found else {}
        case list():
            pairs = [(each.get("name"), each.get("template")) for each in found if isinstance(each, dict)]
        case dict():
            pairs = list(found.items())
        case _:
            return {}
    return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str) and text}


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(_read(path) or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _read(path: Path) -> str | None:
    """None where there is no such file, or where it is far larger than any template."""
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            return None
        return path.read_text("utf-8-sig", "replace")
    except OSError:
        return None
