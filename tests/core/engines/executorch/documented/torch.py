"""Stands in for the few names of torch that an executorch program is run with."""

from __future__ import annotations

from typing import Any

import numpy as np

long = np.int64
float32 = np.float32


class Tensor:
    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def float(self) -> Tensor:
        return Tensor(self.values.astype(np.float32))

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.values


def tensor(data: Any, dtype: type) -> Tensor:
    return Tensor(np.asarray(data, dtype))
