"""What of a placement has no effect with engines that lay a model out whole, on one device."""

from __future__ import annotations

from typing import Final

from core.contract.options import LayerWord, LoadOptions
from core.contract.placement import SplitMode

DIVIDING: Final = ("tensor_split", "override_tensor", "kv_offload", "op_offload", "mmap", "mlock")
"""Options that say what lies where within a model, or how its file is read."""


def explain_undivided(engine: str, options: LoadOptions) -> tuple[str, ...]:
    """A sentence that names the options without effect; none where there are none."""
    idle = [_write_option(name) for name in DIVIDING if getattr(options, name) is not None]
    if options.split_mode not in (None, SplitMode.NONE):
        idle.append("--split-mode")
    if options.cpu_moe is not None and not isinstance(options.cpu_moe, LayerWord):
        idle.append("--cpu-moe")
    told = [f"{', '.join(idle)} ha{'s' if len(idle) == 1 else 've'} no effect"] if idle else []
    if isinstance(options.gpu_layers, int) and options.gpu_layers:
        told.append(f"--gpu-layers {options.gpu_layers} counts as all")
    return (f"{engine} lays a model out whole: {' and '.join(told)}.",) if told else ()


def _write_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
