"""What was measured as a document: a table of words, or the records that it tells of."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from enum import Enum

import msgspec

from core.foreign_text import make_json_printable


class ExportFormat(Enum):
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "md"


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
