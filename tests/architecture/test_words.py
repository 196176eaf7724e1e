"""Words reach a screen or a terminal through the doors that make them harmless, and through no other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TUI = Path(__file__).parents[2] / "tui"
FILES = sorted(path for path in TUI.rglob("*.py"))
DOORS = {
    "Static": "widgets/plain.py",
    "Label": "",
    "Console": "cli/console.py",
    "ArgumentParser": "cli/arguments.py",
    "print": "",
    "sys.stdout.write": "cli/output.py",
    "sys.stderr.write": "cli/output.py",
}
"""What is called, and the one file that may; labels may say what stands in the source."""


def _calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def _fixed(node: ast.expr) -> bool:
    """Whether it is written in the source, or comes from a constant of ours by the name of `label`."""
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id == "label")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(TUI).as_posix())
def test_only_the_doors_draw_and_write(path: Path) -> None:
    for name, call in _calls(path):
        if name == "Label" and call.args and _fixed(call.args[0]):
            continue
        if name in DOORS:
            assert path.relative_to(TUI).as_posix() == DOORS[name], f"{name} in line {call.lineno}"
        if name == "Content.from_markup":
            assert isinstance(call.args[0], ast.JoinedStr | ast.Constant), call.lineno
            # Numbers may be put in; words go by name, beside the markup.
            parts = (each.value for each in ast.walk(call.args[0]) if isinstance(each, ast.FormattedValue))
            assert all(ast.unparse(each) == "number" for each in parts), call.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(TUI).as_posix())
def test_titles_of_borders_and_tooltips_are_no_markup(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Attribute) and target.attr in ("border_title", "border_subtitle", "tooltip"):
                value = ast.unparse(node.value)
                assert isinstance(node.value, ast.Constant) or value.startswith(("make_drawable(", "Content(")), (
                    node.lineno
                )
