"""Stands in for executorch.runtime where executorch is not installed: the same names and signatures as its
documentation gives (Runtime, Program, Method, MethodMeta, TensorInfo).

A program is a file of eight bytes, as a real one begins, and a JSON object behind them that says what it answers: the
tokens of `script`, one a pass, and from the beginning again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch


class TensorInfo:
    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = sizes

    def sizes(self) -> tuple[int, ...]:
        return self._sizes


class MethodMeta:
    def __init__(self, inputs: Sequence[TensorInfo]) -> None:
        self._inputs = inputs

    def num_inputs(self) -> int:
        return len(self._inputs)

    def input_tensor_meta(self, index: int) -> TensorInfo:
        return self._inputs[index]


class Method:
    def __init__(self, about: dict[str, object], name: str) -> None:
        self._about = about
        self._name = name
        self._index = 0
        context = int(str(about["context"]))
        self.metadata = MethodMeta([TensorInfo((1, context)), TensorInfo((context,)), TensorInfo((1,))][: self._inputs])

    @property
    def _inputs(self) -> int:
        return int(str(self._about.get("inputs", 2)))

    def execute(self, inputs: Sequence[torch.Tensor]) -> Sequence[object]:
        if self._name == "get_eos_ids":
            return [2]
        if self._name != "forward":
            return [self._about["context"]]
        tokens, positions = (each.values for each in inputs)
        assert len(positions) == len(tokens[0])
        self._index = 0 if positions[0] == 0 else self._index + 1
        return [self._logits(int(positions[-1]))]

    def _logits(self, position: int) -> torch.Tensor:
        script = self._about["script"]
        assert isinstance(script, list)
        token = script[self._index % len(script)]
        if position + 1 == self._about.get("fails"):
            raise RuntimeError("method->execute() failed with error 0x12")
        if position + 1 == self._about.get("crashes"):
            os.abort()
        row = [0.0] * int(str(self._about["vocabulary"]))
        row[token], row[7] = 9.0, 8.0
        return torch.tensor([row], dtype=torch.float32)


class Program:
    def __init__(self, about: dict[str, object]) -> None:
        self._about = about

    @property
    def method_names(self) -> set[str]:
        names = {"forward", "get_eos_ids", "get_max_seq_len", "get_max_context_len", "enable_dynamic_shape"}
        return names - {str(self._about.get("without"))}

    def load_method(self, name: str) -> Method:
        return Method(self._about, name)


class Runtime:
    @staticmethod
    def get() -> Runtime:
        return Runtime()

    def load_program(self, data: str) -> Program:
        print("what native code prints on its standard output")
        try:
            return Program(json.loads(Path(data).read_bytes()[8:]))
        except ValueError as error:
            raise RuntimeError("Failed to load program, error: 0x:23") from error
