"""Which of the last words of a process tell why it died, and that hearing them is bounded."""

import os
import subprocess
import sys

import pytest

from core.last_words import KEPT_BYTES, LastWords, find_decisive_line, name_signal

TRACEBACK = """Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/x/trial.py", line 3, in <module>
    import missing
ModuleNotFoundError: No module named 'missing'
"""
MISSING = "ModuleNotFoundError: No module named 'missing'"
ABORT = """llama_model_load: loading
/src/ggml.c:123: GGML_ASSERT(ne > 0) failed
[New LWP 12]
#0  0x00007f in __GI_raise
#1  0x00007f in abort ()
Aborted (core dumped)
"""


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("", ""),
        (" \n\n", ""),
        (TRACEBACK, MISSING),
        (
            TRACEBACK.replace("missing'", "other'") + "\nDuring handling, another:\n\n" + TRACEBACK,
            MISSING,
        ),
        (f"{TRACEBACK}a note that was added\n", MISSING),
        (ABORT, "/src/ggml.c:123: GGML_ASSERT(ne > 0) failed"),
        ("terminate called after throwing an instance of 'E'\n  what():  no memory for it.\n", "no memory for it"),
        ("a line\nthe last line\n", "the last line"),
        ("\x1b[31merror: red\x1b[0m\n", r"\x1b[31merror: red\x1b[0m"),
    ],
)
def test_the_line_that_tells_why_is_found(said: str, line: str) -> None:
    assert find_decisive_line(said) == line.rstrip(".")


def test_a_line_without_end_is_cut() -> None:
    assert len(find_decisive_line("error " * 10_000)) == 300


def test_only_the_end_is_kept_of_a_child_that_never_stops_talking_and_it_never_waits() -> None:
    words = LastWords()
    code = "import sys; sys.stderr.write('x' * 5_000_000 + '\\nthe end'); sys.stderr.flush()"
    child = subprocess.Popen([sys.executable, "-c", code], stderr=words.writer)
    words.close_writer()
    assert child.wait(60) == 0
    said = words.text(60)
    assert len(said) == KEPT_BYTES
    assert said.endswith("the end")


def test_a_grandchild_that_holds_the_pipe_keeps_nobody_waiting() -> None:
    words = LastWords()
    os.write(words.writer, b"said before\n")
    while words.text(0.01) != "said before\n":
        pass
    words.close_writer()


def test_signals_without_a_name_are_told_by_number() -> None:
    assert name_signal(4) == "SIGILL"
    assert name_signal(35) == "signal 35"
