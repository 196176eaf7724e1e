"""Variables that a client hands to the model's chat template."""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta

from core.chat.template import RESERVED
from core.errors import RequestError
from core.requests import Scalar

VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEMA: Final = {"propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "not": {"enum": sorted(RESERVED)}}}
TemplateArguments = Annotated[dict[str, Scalar], Meta(max_length=64, extra_json_schema=_SCHEMA)]


def read_template_arguments(given: dict[str, Scalar] | None) -> dict[str, Scalar]:
    """What `chat_template_kwargs` says. Raises RequestError for names that are the server's own, or no names."""
    arguments = dict(given or {})
    for name in arguments:
        if name in RESERVED:
            raise RequestError(
                f"`chat_template_kwargs` may not set `{name}`, which the server sets itself.",
                f"chat_template_kwargs.{name}",
            )
        if not VARIABLE.fullmatch(name):
            raise RequestError(
                f"`chat_template_kwargs` has {name[:64]!r}, which is no name for a template's variable.",
                "chat_template_kwargs",
            )
    return arguments
