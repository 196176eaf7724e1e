"""`samplers`: which of llama.cpp's ways to narrow the choice of a token a request wants, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from msgspec import Meta
from msgspec.structs import replace

from core.errors import RequestError
from core.requests import SamplingWish

SamplerName = Annotated[str, Meta(max_length=64)]
SamplersValue = SamplerName | Annotated[list[SamplerName], Meta(max_length=64)]
"""Their names, or a text with a letter for each."""
ORDER: Final = (
    *("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "infill", "temperature"),
    "adaptive_p",
)
"""In which those that are on are applied here, llama.cpp's own."""
LETTERS: Final[Mapping[str, str]] = dict(zip("edskypmxita", ORDER, strict=True))
OTHER_NAMES: Final[Mapping[str, str]] = {
    "typ": "typ_p",
    "typical": "typ_p",
    "typical_p": "typ_p",
    "nucleus": "top_p",
    "temp": "temperature",
}
GONE: Final = frozenset({"tfs_z", "tfs"})
"""Which llama.cpp had once, and passes over now."""
OFF: Final[Mapping[str, Mapping[str, Any]]] = {
    "penalties": {"repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0},
    "top_k": {"top_k": 0},
    "typ_p": {"typical_p": 1.0},
    "top_p": {"top_p": 1.0},
    "min_p": {"min_p": 0.0},
    "temperature": {"temperature": 1.0},
}
"""What each that is not named is set to. The others have fields that switch them on, and nothing here reads these."""


def choose_samplers(wish: SamplingWish, given: SamplersValue | None) -> SamplingWish:
    """The wish with those alone that are named; the whole of it where none are. An empty list names none: llama.cpp's
    server draws from all tokens by the model's own probabilities then.

    Raises RequestError for names that nobody knows, and for another order than this server's.
    """
    if given is None or given == "":
        return wish
    names = tuple(dict.fromkeys(_read_names(given)))
    if names != tuple(sorted(names, key=ORDER.index)):
        raise RequestError(
            f"This server applies `samplers` in one order alone: {', '.join(ORDER)}; name those that you want in it.",
            "samplers",
        )
    off = {field: value for name, values in OFF.items() if name not in names for field, value in values.items()}
    return replace(wish, **off, joins_beginnings="infill" in names)


def _read_names(given: SamplersValue) -> Iterator[str]:
    for name in given:
        plain = name.lower().replace("-", "_")
        known = LETTERS.get(plain) if isinstance(given, str) else OTHER_NAMES.get(plain, plain)
        if known in ORDER:
            yield str(known)
        elif plain not in GONE:
            raise RequestError(f"`samplers` has {name!r}, which is none of {', '.join(ORDER)}.", "samplers")
