"""Rows of quality as a table of words, and as documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.bench.documents import ExportFormat, write_document
from core.bench.quality import QualityRow
from core.foreign_text import make_printable

QUALITY_HEAD: Final = ("model", "KV", "tokens", "perplexity", "KL divergence", "KL of 1 in 100", "same top", "problem")


def format_quality(row: QualityRow) -> tuple[str, ...]:
    """A row in words, as wide as QUALITY_HEAD. The reference has nothing to be compared with."""
    known = (make_printable(row.model), row.kv_type, str(row.tokens))
    if not row.tokens:
        return (*known, "", "", "", "", make_printable(row.problem or ""))
    # Of a model that can make nothing of the text, decimals would tell nothing and take the room of other columns.
    decimals = 3 if row.perplexity < 1000 else 0
    perplexity = f"{row.perplexity:.{decimals}f} ± {row.perplexity_error:.{decimals}f}"
    if row.reference:
        return (*known, perplexity, "reference", "", "", make_printable(row.problem or ""))
    return (
        *known,
        perplexity,
        f"{row.divergence:.4f} ± {row.divergence_error:.4f}",
        f"{row.divergence_p99:.3f}",
        f"{row.agreement:.1%}",
        make_printable(row.problem or ""),
    )


def export_quality(rows: Sequence[QualityRow], form: ExportFormat) -> str:
    """The rows as a document."""
    return write_document(form, QUALITY_HEAD, [*map(format_quality, rows)], rows)
