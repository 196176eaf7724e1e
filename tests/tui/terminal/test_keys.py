"""Bytes that are no text reach the real program in a real terminal; the keys after them work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are not for Windows", allow_module_level=True)

from tests.tui.terminal.terminals import Terminal, running
from tui.terminal.intake import HOLD_SECONDS

UNTAKEN = "\x1b[1114112u\x1b[55357u\x1b[99999999999999999999;1u"
"""Keys by numbers that no character has."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with running(tmp_path_factory.mktemp("home"), "echo", "--port", "0") as terminal:
        terminal.until("echo ● ready")
        yield terminal


@pytest.fixture
def terminal(opened: Terminal) -> Terminal:
    """With an empty message."""
    opened.type("\x15")
    return opened


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("noise", b"\xff"),
        ("mouse", b"\x1b[M\x20\xff\xf0\x1b[M\x23\xff\xf0"),
        ("cut", b"\x1b[M\xff"),
        ("half", "é".encode()[:1]),
        ("other", bytes(range(0x80, 0x100))),
        ("report", b"\x1b[<35;10"),
        ("numbers", UNTAKEN.encode()),
        ("sizes", b"\x1b[48;0;0;0;0t\x1b[48;99999999;99999999;1;1t\x1b[48;1;99999999999999999999;1;1t"),
        ("paste", b"\x1b[200~a\x1b[48;0;0;0;0tb\x1b[201~"),
    ],
)
def test_keys_work_after_bytes_that_are_no_text(terminal: Terminal, name: str, sent: bytes) -> None:
    terminal.type(sent)
    # What follows at once would be the rest of what was cut off.
    time.sleep(2 * HOLD_SECONDS)
    terminal.type(f" {name} works")
    terminal.until(f"{name} works")


def test_a_paste_in_latin1_is_read(terminal: Terminal) -> None:
    terminal.type(b"\x1b[200~d\xe9j\xe0 vu\x1b[201~")
    terminal.until("déjà vu")
    terminal.type(" and on")
    terminal.until("déjà vu and on")


def test_a_paste_that_never_ends_is_over_after_a_while(terminal: Terminal) -> None:
    terminal.type(b"\x1b[200~begun")
    terminal.until("begun")
    terminal.type(" ended")
    terminal.until("begun ended")
