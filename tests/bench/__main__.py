"""`uv run python -m tests.bench [PART...]`: print tables of what is measured.

Without a name: startup, selection, overhead, decode, own, draft, fit, filter and prefixes. All others by their names
alone. On real weights, `--model`: `embeddings`, `steady`, `masks`, `hostile`, `reproducible`, `kv`, `storing`, `warm`
and `widths`, and `draft` too; `hybrid` with a model whose layers look back a window; `fit` with a model says what each
device takes of it, with BENCHTOP_TEST_RPC as tests/fakes/rpc.py has it also of a second device; `cards` is a model on
an accelerator with less and less room, beside llama.cpp's own programs. `gaps` and `contexts` are streams beside a long
prompt, and what long contexts cost outside the model; `turns` is a stream beside
conversations of 40,000 turns; `reading` is what it costs to tell thoughts, words and calls apart; `bystanders` is what
very many tools do to a stream beside them, `observing` what metrics and telemetry cost; `screen` is what the app on a
terminal takes of the processor, and with `--model` what it leaves of a model's speed. `soak` takes `--minutes`, on
the built-in model where none is named. `downloads` writes some 14 GB; `kills` kills 200 writers of prefixes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from core.guide import WEIGHTS as GUIDE
from core.hardware import describe_machine
from tests.bench import (
    bystanders,
    cards,
    contexts,
    conversations,
    decode,
    downloads,
    drafting,
    embeddings,
    filtering,
    fit,
    gaps,
    hostile,
    hybrids,
    kv_types,
    long_conversations,
    masks,
    observing,
    overhead,
    own,
    placed,
    prefixes,
    reading,
    reproducible,
    screen,
    selection,
    shapes,
    soak,
    startup,
    steady,
    storing,
    warm,
    widths,
)
from tests.bench.report import where

PARTS = ("startup", "selection", "overhead", "decode", "own", "draft", "fit", "filter", "prefixes")
"""Those that are measured where none is named."""
MODEL_NEEDED = frozenset({"cards", "embeddings", "kv", "masks", "widths"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--model", type=Path, help="a GGUF file; a random one of 0.5 B shape when left out")
    parser.add_argument("--draft", type=Path, help="a GGUF file that drafts for --model")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "benchtop-bench")
    parser.add_argument("--threads", type=int, default=describe_machine().cores)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=decode.STREAMS)
    parser.add_argument("--plain-buffers", action="store_true", help="without llama.cpp's extra buffer types")
    parser.add_argument("--whole-attention", action="store_true", help="that of `gaps` without flash attention")
    parser.add_argument("--schemas", type=int, default=100, help="that `masks` tries")
    parser.add_argument("--minutes", type=float, default=10.0, help="that `soak` takes")
    parser.add_argument("--embedder", type=Path, help="a model of sentence embeddings for `soak`; none when left out")
    parser.add_argument("--size", type=int, default=2_000_000_000, help="bytes that `downloads` fetches each time")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - MEASURED.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; the parts are {', '.join(MEASURED)}")
    if arguments.model is None and (bare := MODEL_NEEDED.intersection(arguments.parts)):
        parser.error(f"{', '.join(sorted(bare))} needs real weights: name them with --model")
    print(where() + "\n")
    for part in arguments.parts:
        for text in MEASURED[part](arguments):
            print(text, flush=True)


def _setup(given: argparse.Namespace) -> decode.DecodeSetup:
    return decode.DecodeSetup(
        given.model or shapes.write("0.5b", given.folder),
        given.threads,
        given.tokens,
        given.rounds,
        extra_buffers=not given.plain_buffers,
        flash_attention=False if given.whole_attention else None,
        streams=tuple(given.streams),
    )


def _bystanders(given: argparse.Namespace) -> bystanders.BystanderSetup:
    return bystanders.BystanderSetup(given.model, given.threads, extra_buffers=not given.plain_buffers)


def _draft(given: argparse.Namespace) -> Iterator[str]:
    tokens = 2 * given.tokens
    if given.model is None:
        yield asyncio.run(
            drafting.run(given.folder, given.threads, tokens, given.rounds, extra_buffers=not given.plain_buffers)
        )
        return
    setup = drafting.RealSetup(
        given.model, given.draft, given.threads, tokens, given.rounds, extra_buffers=not given.plain_buffers
    )
    yield asyncio.run(drafting.run_real(setup))


def _gaps(given: argparse.Namespace) -> Iterator[str]:
    yield asyncio.run(gaps.run(_setup(given)))


def _contexts(given: argparse.Namespace) -> Iterator[str]:
    yield asyncio.run(contexts.run_costs())
    yield asyncio.run(contexts.run_admission(_setup(given)))


def _fit(given: argparse.Namespace) -> Iterator[str]:
    """With `--model` what each device takes of that."""
    if given.model is not None:
        yield placed.run(given.model)
        return
    for slots in (1, 8):
        yield fit.run(("guide", "0.5b", "1.5b"), given.folder, slots, extra_buffers=not given.plain_buffers)


MEASURED: Mapping[str, Callable[[argparse.Namespace], Iterable[str]]] = {
    "startup": lambda given: [startup.run()],
    "selection": lambda given: [selection.run(max(5, given.rounds))],
    "bystanders": lambda given: [asyncio.run(bystanders.run(_bystanders(given)))],
    "reading": lambda given: [asyncio.run(reading.run())],
    "overhead": lambda given: overhead.run(),
    "observing": lambda given: asyncio.run(observing.run()),
    "decode": lambda given: [asyncio.run(decode.run(_setup(given)))],
    "steady": lambda given: [asyncio.run(steady.run(_setup(given)))],
    "own": lambda given: [asyncio.run(own.run(given.folder, given.threads, given.tokens, given.rounds))],
    "draft": _draft,
    "widths": lambda given: [
        widths.run(given.model, given.threads, given.rounds, extra_buffers=not given.plain_buffers)
    ],
    "embeddings": lambda given: [
        asyncio.run(embeddings.run(given.model, given.threads, given.rounds, extra_buffers=not given.plain_buffers))
    ],
    "fit": _fit,
    "hybrid": lambda given: [asyncio.run(hybrids.run(given.model, given.folder, given.threads, given.rounds))],
    "kv": lambda given: [kv_types.run(given.model, given.threads, given.tokens, given.rounds)],
    "cards": lambda given: [
        cards.run(given.model, given.threads, given.tokens, given.rounds, extra_buffers=not given.plain_buffers)
    ],
    "filter": lambda given: [filtering.run()],
    "prefixes": lambda given: [
        asyncio.run(prefixes.run(given.model or shapes.write("0.5b", given.folder), given.threads))
    ],
    "storing": lambda given: [
        asyncio.run(storing.run(given.model or shapes.write("0.5b", given.folder), given.threads, given.rounds))
    ],
    "warm": lambda given: [
        asyncio.run(warm.run(given.model or shapes.write("0.5b", given.folder), given.threads, given.rounds))
    ],
    "gaps": _gaps,
    "contexts": _contexts,
    "conversations": lambda given: [conversations.run(max(20, given.rounds))],
    "kills": lambda given: [prefixes.run_kills(200)],
    "reproducible": lambda given: [
        asyncio.run(reproducible.run(given.model or shapes.write("0.5b", given.folder), given.threads, given.tokens))
    ],
    "hostile": lambda given: hostile.run(given.model, given.threads, given.tokens),
    "screen": lambda given: screen.run(given.model, given.rounds),
    "turns": lambda given: [asyncio.run(long_conversations.run())],
    "soak": lambda given: [asyncio.run(soak.run(given.model or GUIDE, given.embedder, given.minutes))],
    "masks": lambda given: masks.run(given.model, given.threads, given.tokens, given.schemas),
    "downloads": lambda given: [downloads.run(given.folder / "downloads", given.size, kills=20, rounds=given.rounds)],
}


if __name__ == "__main__":
    main()
