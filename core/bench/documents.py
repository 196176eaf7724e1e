"""A table of words as a document."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import msgspec

from core.bench.results import ExportFormat
from core.foreign_text import make_json_printable


def write_document(form: ExportFormat, head: Sequence[str], lines: Sequence[Sequence[str]], records: object) -> str:
    """The lines below their head; as JSON the records that they tell of."""
    match form:
        case ExportFormat.JSON:
            return make_json_printable(msgspec.json.format(msgspec.json.encode(records), indent=2).decode()) + "\n"
        case ExportFormat.CSV:
            out = io.StringIO()
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(head)
            writer.writerows(lines)
            return out.getvalue()
        case ExportFormat.MARKDOWN:
            whole = (head, ("---",) * len(head), *lines)
            return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in whole)
