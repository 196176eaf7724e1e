"""The process of an executorch runtime: `python -m core.engines.executorch.worker`.

It keeps torch out of the workbench, and what native code prints off its screen. It ends when its input does.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import IO

import msgspec

from core.engines.executorch.program import Program, UnfitProgram
from core.engines.executorch.wire import Done, Draw, Halt, Order, ProgramRefused, Start, receive_message, send_message

Orders = queue.SimpleQueue[Draw | None]


def main() -> None:
    # What native libraries print must not be taken for a message.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    start = _decoded(receive_message(sys.stdin.buffer))
    if not isinstance(start, Start):
        return
    try:
        program = Program(start.path)
    except (UnfitProgram, ImportError) as error:
        send_message(out, ProgramRefused(str(error)))
        return
    send_message(out, program.ready)
    orders: Orders = queue.SimpleQueue()
    halt = threading.Event()
    threading.Thread(target=_listen, args=(orders, halt), daemon=True).start()
    while (work := orders.get()) is not None:
        _serve(program, work, halt, out)


def _serve(program: Program, work: Draw, halt: threading.Event, out: IO[bytes]) -> None:
    try:
        for drawn in program.draw(work):
            if halt.is_set():
                break
            if drawn is not None:
                send_message(out, drawn)
    except UnfitProgram as error:
        send_message(out, ProgramRefused(str(error)))
        return
    send_message(out, Done())


def _listen(orders: Orders, halt: threading.Event) -> None:
    """Orders come while tokens are drawn, too. A `Halt` belongs to the `Draw` before it."""
    while (order := _decoded(receive_message(sys.stdin.buffer))) is not None:
        if isinstance(order, Halt):
            halt.set()
        elif isinstance(order, Draw):
            halt.clear()
            orders.put(order)
    halt.set()
    orders.put(None)


def _decoded(data: bytes | None) -> Order | None:
    return None if data is None else msgspec.msgpack.decode(data, type=Order)


if __name__ == "__main__":
    main()
