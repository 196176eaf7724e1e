"""Whether a model is loaded with its own heads for guessing ahead (multi-token prediction, MTP)."""

from __future__ import annotations

from core.contract.options import LoadOptions
from core.decoding.speculate import MTP
from core.models.formats.header import Header


def can_use_mtp(header: Header, options: LoadOptions) -> bool:
    """Whether guesses of the model's heads can be verified with these options."""
    return bool(header.mtp_layers) and not (
        options.reproducible or (options.cuts_windows and header.window is not None)
    )


def choose_mtp(header: Header, options: LoadOptions, draft: str | None) -> bool:
    """Whether heads are loaded, by the setting `draft`: where it names them, and where nothing is said and they cost
    little. A recurrent model keeps copies of its state beside them, so that is to be asked for."""
    return can_use_mtp(header, options) and (draft == MTP or (draft is None and not header.recurrent))
