"""From the bytes of a terminal to text: nothing that is sent ends the reading of keys."""

from __future__ import annotations

import random

import pytest

from tui.terminal.intake import ESCAPE_HOLD_SECONDS, HOLD_SECONDS, PASTE_HOLD_SECONDS, Intake

MOUSE = b"\x1b[M\x20\xff\xf0"


def _text(*pieces: bytes) -> str:
    intake = Intake()
    return "".join(intake.take(piece, 0.0) for piece in pieces) + intake.wait(10.0)


def test_utf8_is_read_as_it_is_also_where_a_read_ends_in_a_character() -> None:
    whole = "Grüße, 日本語 👍"
    data = whole.encode()
    for cut in range(len(data) + 1):
        assert _text(data[:cut], data[cut:]) == whole


def test_a_byte_that_is_not_utf8_is_a_letter_of_latin1_and_noise_is_none() -> None:
    assert _text(b"caf\xe9 \x80") == "café €"
    assert _text(b"\xffa\xffb") == "ab"


def test_half_a_character_is_let_go_of_when_nothing_follows() -> None:
    intake = Intake()
    assert intake.take(b"\xc3", 0.0) == ""
    assert intake.wait(HOLD_SECONDS) == "Ã"
    assert intake.take(b"a", 1.0) == "a"


def test_a_mouse_report_of_x10_is_left_out_wherever_the_reads_cut_it() -> None:
    data = b"a" + MOUSE + b"b" + MOUSE + MOUSE + b"c"
    for cut in range(len(data) + 1):
        assert _text(data[:cut], data[cut:]) == "abc"


def test_a_mouse_report_that_is_cut_off_takes_no_later_key_with_it() -> None:
    for cut in range(2, len(MOUSE)):
        intake = Intake()
        early = intake.take(MOUSE[:cut], 0.0) + intake.wait(HOLD_SECONDS)
        assert early == ("\x1b[" if cut == 2 else "")
        assert intake.take(b"hello", 5.0) == "hello"


def test_a_sequence_that_is_cut_off_is_no_text() -> None:
    intake = Intake()
    assert intake.take(b"\x1b[<35;10", 0.0) == ""
    assert intake.wait(HOLD_SECONDS) == ""
    assert intake.take(b"1", 5.0) == "1"
    assert _text(b"\x1b[<35;10\xff;1Ma") == ";1Ma"
    assert _text(b"\x1b[" + b"1;" * 500 + b"ma") == "a"


def test_a_sequence_that_comes_in_pieces_is_whole() -> None:
    data = b"\x1b[<35;101;7M"
    for cut in range(1, len(data)):
        assert _text(data[:cut], data[cut:]) == data.decode()


def test_an_escape_alone_is_the_key_after_a_moment() -> None:
    intake = Intake()
    assert intake.take(b"\x1b", 0.0) == ""
    assert intake.waits
    assert intake.wait(ESCAPE_HOLD_SECONDS) == "\x1b"
    assert not intake.waits


def test_a_paste_keeps_all_its_text_and_none_of_it_is_a_sequence() -> None:
    paste = b"\x1b[200~caf\xe9\x1b[M123\x1b[201~"
    for cut in range(len(paste) + 1):
        assert _text(paste[:cut], paste[cut:]) == "\x1b[200~café\\x1b[M123\x1b[201~"


def test_a_paste_without_an_end_is_over_when_nothing_more_comes() -> None:
    intake = Intake()
    assert intake.take(b"\x1b[200~abc\x1b[20", 0.0) == "\x1b[200~abc"
    assert intake.wait(HOLD_SECONDS) == "\\x1b[20"
    assert intake.wait(PASTE_HOLD_SECONDS) == "\x1b[201~"
    assert intake.take(b"d", 9.0) == "d"


@pytest.mark.parametrize("seed", range(20))
def test_no_noise_at_all_makes_it_deaf(seed: int) -> None:
    chance = random.Random(seed)
    intake = Intake()
    for now in range(50):
        intake.take(chance.randbytes(chance.randint(1, 200)), float(now)).encode()
    assert intake.wait(60.0) is not None
    intake.wait(70.0)
    assert intake.take(b"hello", 80.0) == "hello"
