"""The door for foreign text: what a terminal obeys is seen, what people write stays."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from core.foreign_text import drop_hidden, make_json_printable, make_printable

OBEYED = {
    "clipboard": "\x1b]52;c;c2VjcmV0\x07",
    "title": "\x1b]0;owned\x07",
    "hyperlink": "\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\",
    "cursor": "\x1b[1;1H",
    "erase": "\x1b[2J",
    "reset": "\x1bc",
    "eight bit introducer": "\x9b2J",
    "eight bit command": "\x9d0;owned\x9c",
    "backspace": "good\x08\x08\x08\x08evil",
    "delete": "a\x7fb",
    "carriage return": "good\revil",
    "override": "\u202egpj.exe",
    "isolate": "\u2066a\u2069",
    "line separator": "a\u2028b",
    "tags": "a\U000e0068\U000e0069",
    "byte order mark": "\ufeffa",
    "noncharacter": "a\uffff",
    "byte that is not UTF-8": "caf\udce9",
    "half of a pair": "\ud83d",
}

ORDINARY = (
    "Grüße, naïve café",
    "cafe\u0301",
    "日本語のテキスト",
    "한국어",
    "עברית וגם English",
    "العربية",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "क्\u200dष",
    "👩\u200d👩\u200d👧",
    "❤\ufe0f\u200d🔥",
    "1\ufe0f\u20e3",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "葛\U000e0100",
    "© ® ™\ufe0f",
    "a\u00a0b",
    "ภาษาไทย",
    "┌─┐",
    "\ue0b0",
    r"C:\new\table",
)


def _obeyed(text: str, allowed: str = "") -> list[str]:
    return [sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") and sign not in allowed]


@pytest.mark.parametrize("text", OBEYED.values(), ids=OBEYED.keys())
@pytest.mark.parametrize("lines", [False, True])
def test_what_a_terminal_obeys_is_seen_instead(text: str, lines: bool) -> None:
    shown = make_printable(text, lines=lines)
    assert not _obeyed(shown)
    assert "\\" in shown
    shown.encode()


@pytest.mark.parametrize("text", ORDINARY)
@pytest.mark.parametrize("lines", [False, True])
def test_ordinary_text_of_any_language_stays(text: str, lines: bool) -> None:
    assert make_printable(text, lines=lines) == text


def test_no_character_at_all_gets_through_that_a_terminal_obeys() -> None:
    for number in range(sys.maxunicode + 1):
        shown = make_printable(f"a{chr(number)}b")
        assert not _obeyed(shown), hex(number)
        assert not any(unicodedata.bidirectional(sign) in ("RLO", "LRO", "RLE", "LRE", "RLI", "LRI") for sign in shown)


def test_a_byte_of_a_name_that_is_not_utf8_is_told_as_that_byte() -> None:
    assert make_printable("caf\udce9.gguf") == r"caf\xe9.gguf"


def test_a_line_keeps_no_newline_and_a_text_keeps_them() -> None:
    assert make_printable("a\nb\tc") == r"a\nb\tc"
    assert make_printable("a\nb\tc", lines=True) == "a\nb\tc"
    assert make_printable("a\r\nb\rc", lines=True) == "a\nb\\rc"


def test_a_name_cannot_look_like_another_by_what_is_not_seen() -> None:
    for hidden in ("\u200b", "\u200c", "\u200d", "\u200e", "\u2060", "\ufe0f", "\u115f", "\u3164", "\xad"):
        assert make_printable(f"gpt{hidden}-4") != f"gpt{hidden}-4"
        assert make_printable(f"模型{hidden}") != f"模型{hidden}" or hidden == "\ufe0f"


def test_marks_of_direction_stay_in_text_that_is_written_with_them() -> None:
    text = "(עברית)\u200f 1"
    assert make_printable(text, lines=True) == text
    assert make_printable("rm\u200f -rf", lines=True) == r"rm\u200f -rf"


def test_a_pile_of_marks_is_cut_down() -> None:
    shown = make_printable("a" + "\u0301" * 30)
    assert shown.count("\u0301") == 8
    assert shown.count(r"\u0301") == 22


@pytest.mark.parametrize("text", [*OBEYED.values(), *ORDINARY])
def test_the_second_time_changes_nothing(text: str) -> None:
    for lines in (False, True):
        assert make_printable(make_printable(text, lines=lines), lines=lines) == make_printable(text, lines=lines)


def test_json_says_the_same_and_holds_nothing_that_a_terminal_obeys() -> None:
    name = "a\x1b]0;t\x07\x7f\x9b2J\u202e\U000e0041"
    document = json.dumps({"name": name}, ensure_ascii=False, indent=2)
    shown = make_json_printable(document)
    assert not _obeyed(shown, allowed="\n")
    assert json.loads(shown) == {"name": name}


@pytest.mark.parametrize("text", ORDINARY)
def test_where_there_is_no_room_for_escapes_ordinary_text_stays_too(text: str) -> None:
    assert drop_hidden(text) == text
    assert drop_hidden(f"{text}\x1b[2J\x9b\udcff") == f"{text}[2J"
