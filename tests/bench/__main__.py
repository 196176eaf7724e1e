"""`uv run python -m tests.bench [PART...]`: print the tables of startup, selection, overhead, decode, own, fit, filter.

Without a name all of these; `downloads` by its name alone, since it writes some 14 GB.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from core.hardware import machine
from tests.bench import decode, downloads, filtering, fit, overhead, own, selection, shapes, startup
from tests.bench.report import where

PARTS = ("startup", "selection", "overhead", "decode", "own", "fit", "filter")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--model", type=Path, help="a GGUF file; a random one of 0.5 B shape when left out")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "benchtop-bench")
    parser.add_argument("--threads", type=int, default=machine().cores)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=decode.STREAMS)
    parser.add_argument("--plain-buffers", action="store_true", help="without llama.cpp's extra buffer types")
    parser.add_argument("--size", type=int, default=2_000_000_000, help="bytes that `downloads` fetches each time")
    arguments = parser.parse_args()
    print(where() + "\n")
    if "startup" in arguments.parts:
        print(startup.run())
    if "selection" in arguments.parts:
        print(selection.run(max(5, arguments.rounds)))
    if "overhead" in arguments.parts:
        print(asyncio.run(overhead.run()))
    if "decode" in arguments.parts:
        path = arguments.model or shapes.write("0.5b", arguments.folder)
        setup = decode.Setup(
            path,
            arguments.threads,
            arguments.tokens,
            arguments.rounds,
            extra_buffers=not arguments.plain_buffers,
            streams=tuple(arguments.streams),
        )
        print(asyncio.run(decode.run(setup)))
    if "own" in arguments.parts:
        print(asyncio.run(own.run(arguments.folder, arguments.threads, arguments.tokens, arguments.rounds)))
    if "fit" in arguments.parts:
        for slots in (1, 8):
            print(fit.run(("guide", "0.5b", "1.5b"), arguments.folder, slots))
    if "filter" in arguments.parts:
        print(filtering.run())
    if "downloads" in arguments.parts:
        print(downloads.run(arguments.folder / "downloads", arguments.size, kills=20, rounds=arguments.rounds))


if __name__ == "__main__":
    main()
