"""What environment variables say. Compose files, env files and unset variables of shells make empty ones, which count
as not given; and some hand on the quotes that stand around a value."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final

QUOTES: Final = ('"', "'")
PREFIXES: Final = ("BENCHTOP_", "HF_", "HUGGINGFACE_", "HUGGING_FACE_", "XDG_", "TEXTUAL_")
NAMES: Final = frozenset(
    {
        *("HOME", "TUI_ASCII", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "ESCDELAY", "COLORTERM"),
        *(
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "TRANSFORMERS_OFFLINE",
        ),
    }
)
"""Read by the product or by the libraries it is made of, some of which take an empty one for a value, or fail."""

SECRETS: Final = ("_API_KEY", "_API_KEYS", "_TELEMETRY_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
"""How the names of variables end that no child process of ours has any business with."""


def clean_value(text: str) -> str | None:
    """What a variable was set to, without blanks, line ends and a pair of quotes around it; None for an empty one."""
    value = text.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in QUOTES:
        value = value[1:-1].strip()
    return value or None


def forget_empty(environment: MutableMapping[str, str]) -> None:
    """Take out the variables that are empty, of those that are read here or by libraries. To be called before these
    are imported, since they look at once."""
    for name in list(environment):
        if (name.startswith(PREFIXES) or name.upper() in NAMES) and not environment[name].strip():
            del environment[name]


def drop_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables for a child process: it loads models and needs no keys, and what it says is kept in logs."""
    return {name: value for name, value in environment.items() if not name.upper().endswith(SECRETS)}
