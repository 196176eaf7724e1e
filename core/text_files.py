"""Text that users and other programs write: what editors and shells put before it, and what is not UTF-8."""

from __future__ import annotations

import codecs

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""That of UTF-32 in little endian begins as the first of them does."""


def drop_mark(data: bytes) -> bytes:
    """Without the byte order mark that some editors begin UTF-8 with."""
    return data.removeprefix(codecs.BOM_UTF8)


def decode_text(data: bytes) -> str:
    """What a file of UTF-8 says, without a byte order mark.

    Raises ValueError, whose words end a sentence that begins with the file's name, for other encodings.
    """
    plain = drop_mark(data)
    # PowerShell writes UTF-16 by itself. What has no mark is told by the zeros that no text has.
    if plain.startswith((*UTF_16, codecs.BOM_UTF32_BE)) or b"\0" in plain[:4]:
        raise ValueError("is not UTF-8 but UTF-16 or the like; save it as UTF-8")
    try:
        return plain.decode()
    except UnicodeDecodeError as error:
        line = plain.count(b"\n", 0, error.start) + 1
        byte = f"0x{plain[error.start]:02x}"
        raise ValueError(f"is not UTF-8: line {line} holds the byte {byte}; save it as UTF-8") from error
