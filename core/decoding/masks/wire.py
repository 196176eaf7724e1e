"""What the workbench and the process that tries forms say to each other: see `core.confined`."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from core.requests import MaskForm

FORM_CHARACTERS: Final = 2_000_000
"""That a form may have."""
REPORT_BYTES: Final = 1 << 26
"""More than any report: a grammar is a few times as long as its form."""


class TryForm(Struct, frozen=True, tag="try"):
    form: MaskForm


class FormFits(Struct, frozen=True, tag="fit"):
    """The form can be compiled, and something is of it."""

    grammar: str
    """As `core.decoding.masks.library.write_main` writes it."""


class FormUnfit(Struct, frozen=True, tag="unfit"):
    """A sentence about what keeps the form from being enforced."""

    words: str


FormReport = FormFits | FormUnfit
