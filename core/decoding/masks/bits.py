"""Masks as numpy arrays, for engines that draw from logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def unpack_mask(mask: bytes, width: int) -> npt.NDArray[np.bool_]:
    """For each of `width` logits whether its token may be drawn. A mask that ends before them allows no more."""
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little", count=min(width, 8 * len(mask)))
    allowed = bits.view(np.bool_)
    return allowed if len(allowed) == width else np.pad(allowed, (0, width - len(allowed)))
