"""What adapters add to a model's weights."""

from __future__ import annotations

from pathlib import Path

from core.contract.options import LoadOptions


def measure_adapters(options: LoadOptions) -> int:
    """Bytes of the adapters' files, which are loaded as they are. Of those that are not there loading tells. Touches
    the disk."""
    paths = [Path(adapter.path) for adapter in options.adapters]
    return sum(path.stat().st_size for path in paths if path.is_file())
