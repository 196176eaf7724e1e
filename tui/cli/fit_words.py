"""Whether a model would fit, in the words of a sentence about downloading it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import ArtifactError, HubError
from core.models.fit.estimate import Verdict
from core.sizes import format_size

if TYPE_CHECKING:
    from core.models.fit.estimate import Judged
    from core.models.hub.repository import Quant
    from core.models.store import Store


def judge_quant(store: Store, quant: Quant) -> Judged | None:
    """Whether what could be downloaded fits; None where its header tells nothing."""
    try:
        return store.judge(store.header(quant), profile=store.find_profile(quant.name))
    except (ArtifactError, HubError):
        # A word in passing; what hinders the download itself is told by it.
        return None


def describe_fit(judged: Judged | None) -> str:
    """Words that go on a sentence about a model."""
    if judged is None:
        return ""
    fit = judged.fit
    if fit.verdict is Verdict.DOES_NOT_FIT:
        return f"; it does not fit: it needs {format_size(fit.parts.needed)} and {format_size(fit.free)} are free"
    most = f", at most {judged.largest:,}" if judged.largest is not None else ""
    tight = ", but only just" if fit.verdict is Verdict.TIGHT else ""
    return f"; it fits{tight} with a context of {judged.setup.context:,} tokens{most}"
