"""Text comes out whole, whatever the tokens cut, and never runs past a stop string."""

from hypothesis import given
from hypothesis import strategies as st

from core.decoding.detokenize import CutEnd, TextStream, count_held, decode_whole

stops = st.lists(st.text("abé", min_size=1, max_size=4), max_size=3)


def run(data: list[bytes], stop: list[str]) -> tuple[list[str], str | None]:
    stream = TextStream(stop)
    pieces = []
    for chunk in data:
        pieces.append(stream.push(chunk))
        if stream.stopped is not None:
            return pieces, stream.stopped
    return [*pieces, stream.finish()], stream.stopped


def cut(text: str, stop: list[str]) -> str:
    """The text before the first stop string; of two that end at different places, the one that is complete first."""
    for end in range(1, len(text) + 1):
        starts = [end - len(s) for s in stop if text[:end].endswith(s)]
        if starts:
            return text[: min(starts)]
    return text


@given(st.lists(st.binary(max_size=5), max_size=20))
def test_any_bytes_give_the_text_that_decoding_them_at_once_gives(data: list[bytes]) -> None:
    pieces, _ = run(data, [])
    assert "".join(pieces) == decode_whole(b"".join(data))


@given(st.text(max_size=30), st.integers(0, 40), stops)
def test_text_cut_at_any_byte_is_the_beginning_of_the_whole(text: str, end: int, stop: list[str]) -> None:
    cut_bytes = text.encode()[:end]
    pieces, stopped = run([bytes((byte,)) for byte in cut_bytes], stop)
    said = "".join(pieces)
    assert text.startswith(said)
    if stopped is None:
        assert 0 <= len(cut_bytes) - len(said.encode()) <= 3


@given(st.binary(max_size=40))
def test_only_the_beginning_of_a_character_is_left_out_of_any_bytes(data: bytes) -> None:
    text = decode_whole(data)
    left = next(n for n in range(4) if data[: len(data) - n].decode("utf-8", "replace") == text)
    if left:
        # More bytes can make a character of what was left out.
        rest = data[len(data) - left :]
        ends = [bytes((a, b, c))[:n] for n in (1, 2, 3) for a in (0x80, 0x90, 0xA0) for b, c in [(0x80, 0x80)]]
        assert any(_decodes(rest + end) for end in ends)
    else:
        assert text == data.decode("utf-8", "replace")


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.lists(st.text("aé\ufffd", max_size=3), max_size=8))
def test_replacements_of_a_server_are_dropped_at_the_very_end_of_what_a_limit_cut_alone(pieces: list[str]) -> None:
    for cut_off in (True, False):
        end = CutEnd()
        said = "".join(end.push(piece) for piece in pieces) + end.finish(cut=cut_off)
        whole = "".join(pieces)
        assert whole.startswith(said)
        assert set(whole[len(said) :]) <= {"\ufffd"}
        assert len(whole) - len(said) <= (3 if cut_off else 0)


@given(st.text("abé ", max_size=30), stops)
def test_text_token_by_token_ends_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    pieces, stopped = run([bytes((byte,)) for byte in text.encode()], stop)
    assert "".join(pieces) == cut(text, stop)
    assert (stopped is not None) == (cut(text, stop) != text)


def test_an_unfinished_character_is_held_back() -> None:
    stream = TextStream()
    euro = "€".encode()
    assert [stream.push(euro[:1]), stream.push(euro[1:2]), stream.push(euro[2:])] == ["", "", "€"]


def test_one_invalid_byte_does_not_freeze_the_stream() -> None:
    stream = TextStream()
    assert stream.push(b"\xff") == "\ufffd"
    assert stream.push(b"ok") == "ok"


def test_a_character_cut_by_the_end_is_left_out() -> None:
    for stops in ([], ["stop"]):
        stream = TextStream(stops)
        assert stream.push("a st€".encode()[:-1]) + stream.finish() == "a st"


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    assert count_held("one END", ["END!"]) == 3
    assert count_held("one END.", ["END!"]) == 0
    assert count_held("aab", ["aabaac"]) == 3


def test_what_was_held_back_comes_out_when_the_stop_string_does_not() -> None:
    stream = TextStream(["STOP"])
    assert stream.push(b"a ST") == "a "
    assert stream.push(b"art") == "STart"


@given(st.text(" \tab\n", max_size=40), st.integers(1, 4), st.data())
def test_a_text_ends_before_a_line_that_begins_too_far_to_the_left_however_it_is_cut(
    text: str, indent: int, data: st.DataObject
) -> None:
    first, *others = text.split("\n")
    kept = [first]
    for number, line in enumerate(others):
        blanks = len(line) - len(line.lstrip(" \t"))
        last = number == len(others) - 1
        whole = blanks >= indent or (last and blanks == len(line))
        kept.append(line if whole else line[:blanks])
        if not whole:
            break
    stream = TextStream(indent=indent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    shown = "".join(stream.push(piece.encode()) for piece in pieces) + stream.finish()
    assert shown == "\n".join(kept)
    assert stream.outdented == (len(shown) < len(text))
    assert stream.emitted == len(shown)
