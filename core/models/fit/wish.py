"""What a user has fixed of where a model lies, checked against the devices; the planner chooses the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from core.contract.options import LayerWord, LoadOptions
from core.contract.placement import HOST, SplitMode, TensorRule
from core.devices.device import Device
from core.errors import UsageError

MAIN_MEMORY: Final = frozenset({HOST, "CPU"})
"""How rules call the machine's own memory."""
EVERY_LAYERS: Final = 1 << 20
"""More than any model has."""


class PlacementWish(Struct, frozen=True):
    """The default leaves everything to the planner."""

    gpu_layers: int | None = None
    """Layers on devices, the output counted as one; as many as fit where it is None."""
    expert_layers: int | None = None
    """Of so many of the first layers, the experts lie in main memory; as few as needed where it is None."""
    split: SplitMode = SplitMode.LAYER
    shares: tuple[float, ...] = ()
    """What each accelerator takes, in any unit, in the order in which they are listed."""
    main: int | None = None
    """Which accelerator takes what is not split, counted from 0 as they are listed."""
    rules: tuple[TensorRule, ...] = ()
    kv_offload: bool = True
    op_offload: bool = True
    mapped: bool | None = None
    locked: bool = False

    @property
    def avoids_devices(self) -> bool:
        """Whether no device is to take any part in it."""
        return self.gpu_layers == 0


def read_wish(options: LoadOptions) -> PlacementWish:
    """What the options fix. Raises UsageError for a rule that is none."""
    return PlacementWish(
        gpu_layers=_read_layers(options.gpu_layers),
        expert_layers=_read_layers(options.cpu_moe),
        split=options.split_mode or SplitMode.LAYER,
        shares=options.tensor_split or (),
        main=options.main_gpu,
        rules=tuple(map(_read_rule, _split_rules(options.override_tensor or ()))),
        kv_offload=options.kv_offload is not False,
        op_offload=options.op_offload is not False,
        mapped=options.mmap,
        locked=bool(options.mlock),
    )


def _read_layers(said: int | LayerWord | None) -> int | None:
    if isinstance(said, LayerWord):
        return EVERY_LAYERS if said is LayerWord.ALL else None
    return said


def _split_rules(texts: Sequence[str]) -> Iterator[str]:
    """Several may stand in one text with commas between them, as llama.cpp has it. A pattern may have commas too, so a
    rule goes on until its device is named."""
    pending = ""
    for part in ",".join(texts).split(","):
        pending = f"{pending},{part}" if pending else part
        if "=" in part:
            yield pending
            pending = ""
    if pending:
        yield pending


def _read_rule(text: str) -> TensorRule:
    # A pattern may have the sign within it, the name of a device never has.
    pattern, sign, device = text.rpartition("=")
    if not sign or not pattern or not device:
        raise UsageError(f"{text[:60]!r} is no rule for tensors; write PATTERN=DEVICE, as in exps=CPU.")
    return TensorRule(pattern, HOST if device in MAIN_MEMORY else device)


def check_wish(wish: PlacementWish, accelerators: Sequence[Device]) -> None:
    """Raises UsageError for what cannot be, with what there is. Layers are no such thing where there is no accelerator:
    configs of other machines ask for them, and they stay in main memory."""
    there = ", ".join(f"{device.id} ({device.name})" for device in accelerators)
    if wish.main is not None and not 0 <= wish.main < max(1, len(accelerators)):
        raise UsageError(
            f"There is no accelerator {wish.main} for --main-gpu; these are here, counted from 0: {there or 'none'}."
        )
    if len(wish.shares) > max(1, count := len(accelerators)):
        raise UsageError(
            f"--tensor-split names {len(wish.shares)} shares for {count} accelerator{'s'[: count != 1]}"
            f"{f': {there}' if there else ''}; name one for each."
        )
    if any(not math.isfinite(share) or share < 0 for share in wish.shares) or (wish.shares and not any(wish.shares)):
        raise UsageError("The shares of --tensor-split must be zero or more, and not all of them zero.")
    known = {*MAIN_MEMORY, *(device.id for device in accelerators)}
    for rule in wish.rules:
        if rule.device not in known:
            raise UsageError(f"--override-tensor names the device {rule.device}; here are CPU{there and ', '}{there}.")
        if wish.avoids_devices and rule.device not in MAIN_MEMORY:
            raise UsageError(
                f"--gpu-layers 0 leaves {rule.device} idle, and --override-tensor puts tensors there; leave out one of "
                "them."
            )
        try:
            re.compile(rule.pattern)
        except re.error as error:
            raise UsageError(f"The pattern {rule.pattern!r} of --override-tensor cannot be read: {error}.") from error
