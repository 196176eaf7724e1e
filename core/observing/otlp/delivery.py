"""What becomes of a message to a collector."""

from __future__ import annotations

from enum import Enum


class Delivery(Enum):
    TAKEN = "taken"
    LATER = "later"
    """The collector was not there, or is too busy: worth another try."""
    REFUSED = "refused"
    """It would be refused again."""
