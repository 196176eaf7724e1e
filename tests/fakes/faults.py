"""Faults in a real model: the n-th call of one of its methods fails, as native code and full machines make it fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from core.contract.models import TokenModel

METHODS = ("open", "step", "fork", "trim", "save", "restore", "close", "shutdown")


class RustPanic(BaseException):
    """What libraries in Rust raise where they panic is no Exception."""


class Faults:
    """A plan of faults for all models of a host, one after the other."""

    def __init__(self, plan: dict[tuple[str, int], BaseException] | None = None) -> None:
        """`plan`: what the n-th call of a method, counted from zero, raises in place of its work."""
        self.plan = dict(plan or {})
        self.struck: list[str] = []
        """The methods that failed."""
        self._calls: Counter[str] = Counter()

    def next(self, method: str, error: BaseException) -> None:
        """Have the next call of a method fail."""
        self.plan[method, self._calls[method]] = error

    def spread(self, model: TokenModel) -> None:
        """Have the methods of a model fail as planned."""
        for name in METHODS:
            if (works := getattr(model, name, None)) is not None:
                setattr(model, name, self._wrapped(name, works))

    def _wrapped(self, name: str, works: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            error = self.plan.pop((name, self._calls[name]), None)
            self._calls[name] += 1
            if error is not None:
                self.struck.append(name)
                raise error
            return works(*arguments, **named)

        return call
