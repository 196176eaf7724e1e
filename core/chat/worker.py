"""The process that renders one model's chat template: see `core.confined`."""

from __future__ import annotations

from typing import Final

import msgspec

from core.chat.sandbox import Sandbox
from core.chat.wire import (
    MOST_SOURCE_CHARACTERS,
    MOST_WORDS_CHARACTERS,
    Compile,
    Order,
    Report,
    TemplateBroken,
    TemplateRefused,
)
from core.confined.worker import serve_orders

ORDER_BYTES: Final = 1 << 28
"""More than any order: a conversation is no larger than a request's body."""


def main() -> None:
    sandbox = Sandbox()
    serve_orders(
        lambda data: _bound_report(_obey_order(sandbox, msgspec.msgpack.decode(data, type=Order))), ORDER_BYTES
    )


def _obey_order(sandbox: Sandbox, order: Order) -> Report:
    if isinstance(order, Compile):
        if len(order.source) > MOST_SOURCE_CHARACTERS:
            return TemplateBroken(
                f"it has {len(order.source):,} characters; {MOST_SOURCE_CHARACTERS:,} are the most a template may have"
            )
        return sandbox.compile(order.source, order.words)
    return sandbox.render(order.variables)


def _bound_report(report: Report) -> Report:
    """A complaint is a sentence, however much a template has to say."""
    match report:
        case TemplateRefused(words=words) | TemplateBroken(words=words):
            return type(report)(words[:MOST_WORDS_CHARACTERS].encode("utf-8", "replace").decode())
        case _:
            return report


if __name__ == "__main__":
    main()
