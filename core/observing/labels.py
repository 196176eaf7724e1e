"""Label values: few, short and printable, whatever clients and files call things."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from core.foreign_text import make_printable
from core.observing.catalog import OTHER

MOST_CHARACTERS: Final = 120
"""Of a value. What is cut ends in a digest, so that two do not become one."""
MOST_MODELS: Final = 200
"""Models with a label of their own."""
MOST_ASKED_NAMES: Final = 2_000
"""Names that clients gave and that are remembered with the model they mean."""
MOST_ENDPOINTS: Final = 100
DIGEST_CHARACTERS: Final = 8


def fit_label(text: str) -> str:
    """`text` as a label's value."""
    if len(text) > MOST_CHARACTERS:
        kept = text[: MOST_CHARACTERS - DIGEST_CHARACTERS - 1]
        text = f"{kept}~{sha256(text.encode('utf-8', 'replace')).hexdigest()[:DIGEST_CHARACTERS]}"
    return make_printable(text)


class BoundedLabels:
    """Values of one label, the first so many of those that come; OTHER for all later ones."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._labels: dict[str, str] = {}

    def find_label(self, value: str) -> str:
        label = self._labels.get(value)
        if label is None:
            if len(self._labels) >= self._most:
                return OTHER
            label = self._labels[value] = fit_label(value)
        return label


class ModelLabels:
    """The labels of models that requests name. Only models that are served have one."""

    def __init__(self, find_served: Callable[[str], str | None]) -> None:
        """`find_served`: the name by which a model is served that a client means by another."""
        self._find_served = find_served
        self._labels = BoundedLabels(MOST_MODELS)
        self._asked: dict[str, str] = {}

    def find_label(self, asked: str) -> str:
        served = self._asked.get(asked) or self._find_served(asked)
        if served is None:
            return OTHER
        if len(self._asked) < MOST_ASKED_NAMES:
            self._asked[asked] = served
        return self._labels.find_label(served)
