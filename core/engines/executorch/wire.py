"""Messages between the workbench and the process of an executorch runtime: msgpack, each behind its length."""

from __future__ import annotations

import struct
from typing import IO, Final

import msgspec
from msgspec import Struct

from core.contract.step import StepLogprob
from core.requests import Sampling

LENGTH: Final = struct.Struct("<I")


class Start(Struct, frozen=True, tag="start"):
    """The first message: which program to load."""

    path: str


class Draw(Struct, frozen=True, tag="draw"):
    """Compute a prompt, and draw tokens after it."""

    prompt: tuple[int, ...]
    sampling: Sampling
    limit: int
    """Tokens to draw at most."""
    ends: tuple[int, ...]
    """Token ids after which nothing more is drawn."""


class Halt(Struct, frozen=True, tag="halt"):
    """Draw no more for the `Draw` under way."""


class ProgramReady(Struct, frozen=True, tag="ready"):
    """The program is loaded and runs."""

    context: int
    vocabulary: int
    chunk: int
    """Tokens a forward pass takes at most."""
    ends: tuple[int, ...]
    """Its own end-of-generation tokens; none where it does not tell them."""


class Drawn(Struct, frozen=True, tag="drawn"):
    """One token."""

    token: int
    logprob: StepLogprob | None = None


class Done(Struct, frozen=True, tag="done"):
    """No more of a `Draw` will come."""


class ProgramRefused(Struct, frozen=True, tag="refused"):
    """It failed; `reason` is the end of a sentence."""

    reason: str


Order = Start | Draw | Halt
Report = ProgramReady | Drawn | Done | ProgramRefused


def send_message(pipe: IO[bytes], message: Order | Report) -> None:
    data = msgspec.msgpack.encode(message)
    pipe.write(LENGTH.pack(len(data)) + data)
    pipe.flush()


def receive_message(pipe: IO[bytes]) -> bytes | None:
    """The next message, undecoded; None at the end of the pipe, also amid a message."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    data = pipe.read(size)
    return data if len(data) == size else None
