"""Tables, and what the measurements share."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from core.hardware import describe_machine

PROMPT = "<|im_start|>user\nCount to a hundred, please, as number 0 of all.<|im_end|>\n<|im_start|>assistant\n"


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table under a heading."""
    lines = [f"### {title}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join([*lines, ""])


def where() -> str:
    """The machine and the versions that the figures hold for."""
    here = describe_machine()
    engines = ", ".join(f"{name} {version(name)}" for name in ("llama-cpp-python", "textual", "litestar"))
    return (
        f"{here.processor}, {here.cores} cores, {here.memory / 2**30:.0f} GiB; {here.system}, "
        f"Python {platform.python_version()}; {engines}"
    )


def _cell(value: object) -> str:
    match value:
        case float() if value >= 100:
            return f"{value:.0f}"
        case float():
            return f"{value:.3g}"
        case None:
            return "-"
        case _:
            return str(value)
