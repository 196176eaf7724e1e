"""Which benchtop this is."""

from __future__ import annotations


def read_version() -> str:
    """The installed distribution's version; "0" in a tree that was never installed."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        return metadata("benchtop")["Version"]
    except PackageNotFoundError:
        return "0"
