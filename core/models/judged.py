"""A verdict with all that it rests on."""

from __future__ import annotations

from msgspec import Struct

from core.models.fit.estimate import Fit, Setup
from core.models.formats.header import Header


class Judged(Struct, frozen=True):
    """A model's header with the verdict, and what it was judged for."""

    header: Header
    setup: Setup
    fit: Fit
    largest: int | None
    """The most tokens of context with which it fits; None where none does."""
