"""A verdict with all that it rests on."""

from __future__ import annotations
