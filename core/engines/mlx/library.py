"""mlx-lm and the parts of mlx that have no types, under names the type checker does not look behind."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.utils
import mlx_lm.models.cache
import mlx_lm.utils

caches: Any = mlx_lm.models.cache
utils: Any = mlx_lm.utils
async_eval: Any = mx.async_eval
_trees: Any = mlx.utils


def list_weights(network: Any) -> list[mx.array]:
    """Every array that was read from disk."""
    return [array for _, array in _trees.tree_flatten(network.parameters())]
