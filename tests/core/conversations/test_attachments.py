"""Files and pastes in a message: what the model sees of them, and which files are refused in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.conversations.attachments import (
    MOST_ATTACHED_BYTES,
    Attachment,
    AttachmentError,
    join_message,
    read_attachment,
)


def test_the_model_sees_the_name_and_the_whole_text_before_the_words(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"\xef\xbb\xbfx = 1\r\ny = '```'\r\n")
    found = read_attachment(path, "a.py")
    assert (found.text, found.lines) == ("x = 1\ny = '```'\n", 2)
    asked = join_message("What is this?", [found, Attachment("pasted")])
    assert asked == "a.py:\n````py\nx = 1\ny = '```'\n````\n\n```\npasted\n```\n\nWhat is this?"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x7fELF\x02\x01\x01\0\0\0", "is no text but a binary file"),
        (b"GIF89a\x01\x02\x03", "is no text but a binary file"),
        ("zwölf".encode("latin-1"), "is not UTF-8: line 1 holds the byte 0xf6"),
        ("words".encode("utf-16"), "UTF-16"),
        (b" \n", "is empty"),
        (b"a" * (MOST_ATTACHED_BYTES + 1), r"larger than 1\.0 MB"),
    ],
)
def test_files_that_are_no_text_or_too_large_are_refused_in_words(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(AttachmentError, match=f"^file .*{words}"):
        read_attachment(path, "file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_folders_pipes_and_files_that_are_gone_are_refused_in_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("pipe", "no regular file"), ("", "is a folder"), ("gone\x1b", "not there any more")):
        with pytest.raises(AttachmentError, match=words) as raised:
            read_attachment(tmp_path / name)
        assert str(raised.value).isprintable()
