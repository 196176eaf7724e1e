"""Where a model's response schema is: where the user says, or in the model's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from core.chat.parsers.response_schema import ResponseSchema, SchemaUnfit
from core.errors import LoadFailed
from core.files import expand_home, read_regular
from core.text_files import decode_text

MOST_BYTES: Final = 16 << 20
"""Of a file that is read."""


def read_response_schema(
    wish: str | None, model: str, place: Path | None
) -> tuple[ResponseSchema | None, tuple[str, ...]]:
    """The schema that the user wants, else the one in the tokenizer_config.json of a model that lies at `place`; beside
    it notes for the user.

    Raises LoadFailed for a wish that cannot be read. A model's own that cannot be used is told, and does without.
    """
    if wish:
        try:
            text = wish if wish.lstrip().startswith("{") else decode_text(read_regular(expand_home(wish), MOST_BYTES))
            return ResponseSchema(text), ()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else f"it {error}"
            raise LoadFailed(
                model, f"The response schema {wish} cannot be read ({why}); correct response_schema."
            ) from error
        except SchemaUnfit as error:
            raise LoadFailed(model, f"{str(error).rstrip('.')}; correct response_schema.") from error
    own = _read_own(place)
    if own is None:
        return None, ()
    try:
        return ResponseSchema(json.dumps(own)), ()
    except SchemaUnfit as error:
        return None, (f"The model's own response schema is not used. {error}",)


def _read_own(place: Path | None) -> object:
    """None where there is none."""
    if place is None:
        return None
    path = (place if place.is_dir() else place.parent) / "tokenizer_config.json"
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content.get("response_schema") if isinstance(content, dict) else None
