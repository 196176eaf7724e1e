"""A decoder graph in onnxruntime: its inputs and outputs, and one run of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]
from onnxruntime.capi import onnxruntime_pybind11_state as native  # type: ignore[import-untyped]

from core.contract.options import KvType
from core.errors import EngineFailed, Interrupted, LoadFailed

if TYPE_CHECKING:
    OrtValue = Any
    """onnxruntime is untyped."""

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]

PAST: Final = re.compile(r"past_key_values\.(\d+)\.(key|value)")
TYPES: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
KINDS: Final = {np.float32: KvType.F32, np.float16: KvType.F16}
PREFIX: Final = re.compile(r"^(Error in execution: )?\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
DEVICES: Final = {
    "TensorrtExecutionProvider": "cuda",
    "CUDAExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
}
"""Providers whose memory is not the processor's."""
INPUTS: Final = frozenset({"input_ids", "attention_mask", "position_ids", "num_logits_to_keep"})
FATAL_LEVEL: Final = 4
"""onnxruntime's log level that keeps its complaints off the screen; errors come as exceptions anyway."""


ERRORS: Final[tuple[type[Exception], ...]] = (
    *(each for each in vars(native).values() if isinstance(each, type) and issubclass(each, Exception)),
    RuntimeError,
    ValueError,
)
"""All that onnxruntime raises; its own classes have no root but Exception."""


def explain_error(error: Exception) -> str:
    """onnxruntime's complaint without its codes, as the end of a sentence."""
    return PREFIX.sub("", str(error)).strip().split("\n")[0].rstrip(". ") or type(error).__name__


class Graph:
    """A loaded graph that takes and gives its KV cache. Raises LoadFailed for one of another kind."""

    def __init__(self, name: str, session: onnxruntime.InferenceSession, card: int = 0) -> None:
        """`card`: the number of the one that its provider uses, where that is one of several."""
        self._session = session
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self.device = next((DEVICES[each] for each in self.providers[:1] if each in DEVICES), "cpu")
        self._card = 0 if self.device == "cpu" else card
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = FATAL_LEVEL
        # The bindings look this up before each run, and pay for an exception where it is not there.
        self._options.add_run_config_entry("gpu_graph_id", "-1")
        inputs = {each.name: each for each in session.get_inputs()}
        self.pasts = sorted((each for each in inputs if PAST.fullmatch(each)), key=_layer_of)
        self.presents = [each.replace("past_key_values", "present") for each in self.pasts]
        self._refuse_foreign(name, inputs)
        first = inputs[self.pasts[0]]
        self.dtype = TYPES[first.type]
        self.shapes = [_shape(name, inputs[each]) for each in self.pasts]
        self.kv_type = KINDS[self.dtype]
        self.limits_logits = "num_logits_to_keep" in inputs
        self.takes_positions = "position_ids" in inputs
        self._takes_mask = "attention_mask" in inputs
        self.vocabulary = _vocabulary(session)

    @property
    def layers(self) -> int:
        return len(self.pasts) // 2

    @property
    def interrupted(self) -> bool:
        return bool(self._options.terminate)

    def interrupt(self, on: bool) -> None:
        """From any thread: the run under way, and any later one, ends as soon as it can."""
        self._options.terminate = on

    def run(
        self, ids: Ids, mask: Ids, positions: Ids, past: Sequence[OrtValue], keep: int
    ) -> tuple[Floats, list[OrtValue]]:
        """Logits (batch, at least `keep`, vocabulary) of the last tokens, and what becomes of the past.

        `ids` and `positions` are (batch, length), `mask` (batch, past + length). The past stays where it is: the
        presents are made on the graph's device and never pass through the interpreter.
        """
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        if self._takes_mask:
            binding.bind_cpu_input("attention_mask", mask)
        if self.takes_positions:
            binding.bind_cpu_input("position_ids", positions)
        if self.limits_logits:
            binding.bind_cpu_input("num_logits_to_keep", np.asarray(max(1, keep), np.int64))
        for name, value in zip(self.pasts, past, strict=True):
            binding.bind_ortvalue_input(name, value)
        binding.bind_output("logits", "cpu")
        for name in self.presents:
            binding.bind_output(name, self.device, self._card)
        self._run(binding)
        logits, *presents = binding.get_outputs()
        return logits.numpy(), presents

    def value(self, array: Floats) -> OrtValue:
        """On the graph's device. On the processor the value is the array's own memory."""
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self.device, self._card)

    def empty(self, batch: int) -> list[OrtValue]:
        """A past of no tokens."""
        return [self.value(np.zeros((batch, heads, 0, width), self.dtype)) for heads, width in self.shapes]

    def _run(self, binding: onnxruntime.IOBinding) -> None:
        try:
            self._session.run_with_iobinding(binding, self._options)
        except ERRORS as error:
            if self.interrupted:
                raise Interrupted("The step was interrupted.") from error
            raise EngineFailed(f"onnxruntime failed: {explain_error(error)}.") from error

    def _refuse_foreign(self, name: str, inputs: dict[str, Any]) -> None:
        if not self.pasts or "input_ids" not in inputs:
            raise LoadFailed(
                name,
                f"{name} is no decoder with a KV cache: its graph takes {', '.join(sorted(inputs)[:6])} "
                "and not input_ids with past_key_values.N.key and .value.",
            )
        foreign = sorted(set(inputs) - INPUTS - set(self.pasts))
        outputs = {each.name for each in self._session.get_outputs()}
        lacking = sorted({"logits", *self.presents} - outputs)
        if foreign or lacking:
            problem = f"takes {', '.join(foreign[:4])}" if foreign else f"does not give {', '.join(lacking[:4])}"
            raise LoadFailed(name, f"The graph of {name} {problem}, which this engine does not know.")
        kinds = {inputs[each].type for each in self.pasts}
        if len(kinds) != 1 or not kinds <= TYPES.keys():
            raise LoadFailed(
                name, f"The KV cache of {name} is of type {', '.join(sorted(kinds))}, not float or float16."
            )


def _layer_of(past: str) -> tuple[int, str]:
    found = PAST.fullmatch(past)
    assert found is not None
    return int(found[1]), found[2]


def _shape(name: str, past: Any) -> tuple[int, int]:
    """KV heads and width of a head."""
    shape = past.shape
    if len(shape) != 4 or not isinstance(shape[1], int) or not isinstance(shape[3], int):
        raise LoadFailed(
            name, f"The input {past.name} of {name} has the shape {shape}, not [batch, heads, past, width]."
        )
    return shape[1], shape[3]


def _vocabulary(session: onnxruntime.InferenceSession) -> int:
    """Zero where the graph does not tell."""
    shape = next(each.shape for each in session.get_outputs() if each.name == "logits")
    return shape[-1] if isinstance(shape[-1], int) else 0
