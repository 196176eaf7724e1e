"""What the types of llama.cpp's KV cache cost and change: memory, pace at a long context, and how far what a model
says moves, on real weights and a text that makes sense: this project's documentation.

All types are loaded at once and take turns, so that what else the machine does meets all of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from core.contract.artifact import Artifact
from core.contract.options import KvType, LoadOptions
from core.contract.step import SequenceId, Work
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.llamacpp.model import TrimmingLlamaModel
from core.requests import Sampling
from tests.bench.report import table

KV_TYPES = (KvType.F16, KvType.Q8_0, KvType.Q8_0_Q4_0, KvType.Q4_0)
"""The first is what the others are compared with."""
DEPTHS = (256, 3072)
"""Tokens in front of what is decoded."""
LOOKED_AT_TOKENS = 1536
"""Of the text, behind each of which the logits are looked at."""
CHUNK_TOKENS = 64
"""Tokens of a pass that tells the log-probabilities of all of them."""
PROMPT_TOKENS = 192
ANSWERS = 8
"""Greedy answers, from so many places of the text."""
GREEDY = Sampling(temperature=0.0)
ROOT = Path(__file__).parents[2]


class TypeTrial:
    """One model with one type of KV cache, and what it made of the text."""

    def __init__(self, artifact: Artifact, kv: KvType, context: int, threads: int) -> None:
        options = LoadOptions(
            ctx_size=context, slots=1, threads=threads, batch_threads=threads, kv_type=kv, extra_buffers=False
        )
        model = LlamaCppEngine().load(artifact, options)
        assert isinstance(model, TrimmingLlamaModel)
        self.model = model
        self.kv = kv
        self.likeliest: npt.NDArray[np.int64] = np.empty(0, np.int64)
        """At each place of the text."""
        self.losses: npt.NDArray[np.float64] = np.empty(0)
        """-log p of the text's own next token, in nats."""
        self.answers: list[tuple[int, ...]] = []
        self.rates: dict[int, list[float]] = {depth: [] for depth in DEPTHS}

    def read(self, text: Sequence[int]) -> SequenceId:
        """Compute the text, and look at the logits behind the first tokens of it."""
        likeliest, losses = [], []
        sequence = self.model.open(GREEDY)
        for start in range(0, LOOKED_AT_TOKENS, CHUNK_TOKENS):
            tokens = text[start : start + CHUNK_TOKENS]
            # Below `step`, which draws: here the text goes on as it is written.
            self.model._batch.native.n_tokens = self.model._batch.fill(0, tokens, start, sequence, len(tokens))
            self.model._decode(len(tokens))
            for index, following in enumerate(text[start + 1 : start + 1 + len(tokens)]):
                logits = self.model._logits(index).copy()
                best = int(logits.argmax())
                likeliest.append(best)
                losses.append(
                    float(
                        np.log(np.exp(logits - logits[best]).sum(dtype=np.float64)) + logits[best] - logits[following]
                    )
                )
        self.model._sequences[sequence].length = LOOKED_AT_TOKENS
        for start in range(LOOKED_AT_TOKENS, len(text), self.model.spec.batch):
            self.model.step([Work(sequence, text[start : start + self.model.spec.batch], sample=False)])
        self.likeliest, self.losses = np.array(likeliest), np.array(losses)
        return sequence

    def answer(self, prompt: Sequence[int], count: int) -> tuple[int, ...]:
        """Greedy tokens."""
        sequence = self.model.open(GREEDY)
        drawn = self._decode_tokens(sequence, prompt, count)
        self.model.close(sequence)
        return drawn

    def time_decoding(self, whole: SequenceId, depth: int, last: int, count: int) -> None:
        sequence = self.model.fork(whole, depth, GREEDY)
        self._decode_tokens(sequence, [last], 1)
        begun = time.monotonic()
        self._decode_tokens(sequence, [last], count)
        self.rates[depth].append(count / (time.monotonic() - begun))
        self.model.close(sequence)

    def _decode_tokens(self, sequence: SequenceId, tokens: Sequence[int], count: int) -> tuple[int, ...]:
        drawn: list[int] = []
        for _ in range(count):
            (step,) = self.model.step([Work(sequence, tokens, sample=True)])
            drawn += step.tokens
            tokens = step.tokens
        return tuple(drawn)


def run(path: Path, threads: int, tokens: int, rounds: int) -> str:
    """The table, in Markdown. `tokens` are decoded for each answer and each timing."""
    artifact = Artifact(path.stem, "gguf", path, path.stat().st_size)
    context = max(DEPTHS) + tokens + 64
    trials = [TypeTrial(artifact, kv, context, threads) for kv in KV_TYPES]
    words = "".join(file.read_text() for file in (ROOT / "docs" / "architecture.md", ROOT / "README.md"))
    text = trials[0].model.tokenizer.encode(words, special=False)[: max(DEPTHS)]
    for trial in trials:
        whole = trial.read(text)
        for start in range(0, len(text) - PROMPT_TOKENS, (len(text) - PROMPT_TOKENS) // ANSWERS)[:ANSWERS]:
            trial.answers.append(trial.answer(text[start : start + PROMPT_TOKENS], tokens))
        assert whole == SequenceId(0)
    for _ in range(rounds):
        for depth in DEPTHS:
            for trial in trials:
                trial.time_decoding(SequenceId(0), depth, text[depth - 1], tokens)
    head = ("KV type", "kB a token", "perplexity", "same likeliest token", f"same {tokens} greedy tokens")
    paces = [f"decode at {depth:,}, of f16" for depth in DEPTHS]
    title = f"KV types, {path.stem}, {LOOKED_AT_TOKENS:,} tokens of text, {threads} threads, {rounds} rounds"
    return table(title, (*head, *paces, *(f"tokens/s at {depth:,}" for depth in DEPTHS)), _rows(trials))


def _rows(trials: Sequence[TypeTrial]) -> list[tuple[object, ...]]:
    first = trials[0]
    rows: list[tuple[object, ...]] = []
    for trial in trials:
        same = sum(ours == theirs for ours, theirs in zip(trial.answers, first.answers, strict=True))
        rates = [median(trial.rates[depth]) for depth in DEPTHS]
        rows.append(
            (
                trial.kv.value,
                trial.model.spec.kv_bytes_per_token / 1000,
                float(np.exp(trial.losses.mean())),
                f"{np.mean(trial.likeliest == first.likeliest):.1%}",
                f"{same} of {len(first.answers)}",
                *(rate / median(first.rates[depth]) for rate, depth in zip(rates, DEPTHS, strict=True)),
                *rates,
            )
        )
    return rows
