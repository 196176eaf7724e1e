# /// script
# requires-python = ">=3.11"
# dependencies = ["torch>=2.6", "numpy>=2", "gguf>=0.17", "tokenizers>=0.21"]
# ///
# mypy: ignore-errors
# ruff: noqa: E402
# Why: torch is no dependency of the product, so the type checker cannot see it; and a script must put the repository
# on the path before it imports from it.
"""Trains guide from nothing and writes `guide.gguf`.

    uv run core/guide/training/train.py --output core/guide/guide.gguf

One seed, one number of threads and one version of torch give one file. A checkpoint and a GGUF of it are written to
`--work` as training goes; `--resume` goes on from the checkpoint.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3])  # in place of this folder

import torch
from torch import Tensor
from torch.nn import functional

from core.guide.training.corpus import END, Fact, build_prompt, load_facts
from core.guide.training.export import GuideHeader, write_gguf
from core.guide.training.network import Guide, GuideShape
from core.guide.training.phrasing import Phrasings
from core.guide.training.vocabulary import Vocabulary, train_vocabulary

SYSTEMS = (
    "You are a helpful assistant.",
    "You are guide, the built-in model of benchtop.",
    "You are guide, the model built into benchtop. Answer briefly.",
    "You answer questions about local inference.",
    "Be brief and friendly.",
    "You are a helpful, honest assistant. Answer in one to three sentences.",
    "Answer the user's questions about this workbench.",
    "You are an expert in running language models on local machines.",
)
FALLBACK = "off-topic"
"""The fact whose questions have no common subject; it is drawn more often, as it must cover everything else."""


@dataclass(frozen=True)
class Example:
    """A conversation as tokens, and the weight of each token in the loss (zero: only read)."""

    tokens: list[int]
    weights: list[float]


class Conversations:
    """Draws conversations about the facts and encodes them."""

    def __init__(self, facts: Sequence[Fact], vocabulary: Vocabulary, seed: int) -> None:
        self.rng = random.Random(seed)
        self.facts = [*facts, *(fact for fact in facts if fact.id == FALLBACK for _ in range(6))]
        self.phrasings = Phrasings(facts, self.rng)
        self.tokenizer = vocabulary.tokenizer()

    def draw(self, turns: int, limit: int) -> Example:
        """`turns` questions with their answers, no more than `limit` tokens; 40% begin with a system message."""
        system = self._system()
        tokens: list[int] = []
        weights: list[float] = []
        for turn in range(turns):
            asked, answered = self._turn(None if turn else system)
            if len(tokens) + len(asked) + len(answered) + 1 > limit:
                break
            tokens += [*asked, *answered, *self._encode("\n")]
            weights += [0.0] * len(asked) + _weights(len(answered)) + [0.0]
        return Example(tokens, weights)

    def opening(self) -> Example:
        """One question with the first twelve tokens of its answer: they decide which fact is told."""
        asked, answered = self._turn(self._system())
        answered = answered[:12]
        return Example([*asked, *answered], [0.0] * len(asked) + _weights(len(answered)))

    def batches(self, context: int) -> Iterator[list[Example]]:
        """Of 100 batches 55 are openings, 35 of one or two questions, 6 conversations, and 4 fill the context."""
        while True:
            chance = self.rng.random()
            if chance < 0.04:
                yield [self.draw(60, context) for _ in range(2)]
            elif chance < 0.12:
                yield [self.draw(self.rng.randint(3, 12), context) for _ in range(8)]
            elif chance < 0.23:  # four batches
                yield from self._sorted([self.draw(self.rng.randint(1, 2), context) for _ in range(256)], 64)
            else:
                yield [self.opening() for _ in range(128)]

    def _sorted(self, drawn: list[Example], size: int) -> Iterator[list[Example]]:
        """Batches of like length, so that little of each is padding, in random order."""
        drawn = sorted(drawn, key=lambda example: len(example.tokens))
        starts = list(range(0, len(drawn), size))
        self.rng.shuffle(starts)
        yield from (drawn[start : start + size] for start in starts)

    def _turn(self, system: str | None) -> tuple[list[int], list[int]]:
        fact = self.rng.choice(self.facts)
        return self._encode(build_prompt(self.phrasings.draw(fact), system=system)), self._encode(fact.answer + END)

    def _system(self) -> str | None:
        return self.rng.choice(SYSTEMS) if self.rng.random() < 0.4 else None

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def _weights(length: int) -> list[float]:
    """The loss of an answer counts its first six tokens, which choose among the facts, twice."""
    return [2.0] * 6 + [1.0] * (length - 6)


def collate_examples(examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and weights, each (batch, length), padded with token 0 of weight 0.

    Lengths are rounded up, because the CPU's matrix kernels are compiled anew for every new shape.
    """
    longest = max(len(example.tokens) for example in examples) - 1
    length = -(-longest // 16) * 16 if longest < 256 else -(-longest // 128) * 128
    tokens = torch.zeros(len(examples), length + 1, dtype=torch.long)
    weights = torch.zeros(len(examples), length + 1)
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
        weights[row, : len(example.weights)] = torch.tensor(example.weights)
    return tokens[:, :-1], tokens[:, 1:], weights[:, 1:]


def compute_loss(model: Guide, examples: Sequence[Example]) -> Tensor:
    """Weighted mean cross-entropy of the next token, computed only where a weight is not zero."""
    inputs, targets, weights = collate_examples(examples)
    counted = weights.flatten().nonzero().flatten()
    counted = functional.pad(counted, (0, -len(counted) % 512))  # position 0 is never counted, so its weight is zero
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model(inputs).flatten(0, 1)
        logits = model.logits(hidden[counted])
    losses = functional.cross_entropy(logits.float(), targets.flatten()[counted], reduction="none")
    return (losses * weights.flatten()[counted]).sum() / weights.sum()


def compute_learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 100 steps, then a cosine down to a hundredth of the peak."""
    if step < 100:
        return peak * (step + 1) / 100
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - 100) / max(1, steps - 100))))


def build_optimiser(model: Guide, peak: float) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    norms = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), fused=True)


def train_model(model: Guide, source: Conversations, options: argparse.Namespace, vocabulary: Vocabulary) -> None:
    """Run the steps that are left; saves every `--save-every` steps and stops early after `--max-minutes`."""
    optimiser = build_optimiser(model, options.rate)
    batches = source.batches(model.shape.context)
    first = _resume(model, optimiser, batches, options) if options.resume else 0
    began, running = time.monotonic(), 0.0
    model.train()
    for step in range(first, options.steps):
        loss = _step(model, optimiser, next(batches), compute_learning_rate(step, options.steps, options.rate))
        running = loss if step == first else 0.98 * running + 0.02 * loss
        minutes = (time.monotonic() - began) / 60
        if step % 25 == 0:
            worked = time.process_time() / 60
            print(f"step {step} loss {running:.3f} {minutes:.1f} min, {worked:.1f} CPU min", flush=True)
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps or minutes > options.max_minutes:
            _save(model, optimiser, vocabulary, step + 1, options.work)
        if minutes > options.max_minutes:
            print(f"stopped at step {step + 1}: {options.max_minutes} minutes are over", flush=True)
            return


def _step(model: Guide, optimiser: torch.optim.AdamW, examples: Sequence[Example], rate: float) -> float:
    """One update with gradients clipped to norm 1; returns the loss before it."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    loss = compute_loss(model, examples)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.item()


def _save(model: Guide, optimiser: torch.optim.AdamW, vocabulary: Vocabulary, step: int, work: Path) -> None:
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(state | {"step": step, "random": torch.get_rng_state()}, work / "checkpoint.part")
    (work / "checkpoint.part").replace(work / "checkpoint.pt")
    export_model(model, vocabulary, work / "guide.gguf")
    model.eval()
    facts = load_facts()
    for name in ("questions", "heldout"):
        right, asked = measure_accuracy(model, vocabulary, facts, name)
        print(f"  {name}: {right}/{asked} = {right / asked:.1%}", flush=True)
    model.train()


def _resume(model: Guide, optimiser: torch.optim.AdamW, batches: Iterator[list[Example]], options) -> int:
    state = torch.load(options.work / "checkpoint.pt")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["random"])
    for _ in range(state["step"]):  # the draws go on where they were cut
        next(batches)
    return state["step"]


@torch.no_grad()
def measure_accuracy(model: Guide, vocabulary: Vocabulary, facts: Sequence[Fact], kind: str) -> tuple[int, int]:
    """(right, asked): phrasings of `kind` whose greedy answer is the fact's answer to the last token.

    One forward pass decides it: greedy decoding gives the answer exactly when every token of it is the likeliest one
    after the tokens before.
    """
    tokenizer = vocabulary.tokenizer()
    pairs = [(build_prompt(question), fact.answer + END) for fact in facts for question in getattr(fact, kind)]
    right = 0
    for start in range(0, len(pairs), 64):
        examples = [_build_example(tokenizer, *pair) for pair in pairs[start : start + 64]]
        inputs, targets, weights = collate_examples(examples)
        likeliest = model.logits(model(inputs)).argmax(-1)
        right += int(((likeliest == targets) | (weights == 0)).all(dim=1).sum())
    return right, len(pairs)


def _build_example(tokenizer, asked: str, answered: str) -> Example:
    before, after = (tokenizer.encode(text, add_special_tokens=False).ids for text in (asked, answered))
    return Example([*before, *after], [0.0] * len(before) + [1.0] * len(after))


def export_model(model: Guide, vocabulary: Vocabulary, path: Path) -> None:
    """Write the model as GGUF; the embedding serves as output too, so there is no `output.weight`."""
    shape = model.shape
    header = GuideHeader(
        context_length=shape.context,
        embedding_length=shape.width,
        block_count=shape.layers,
        feed_forward_length=shape.hidden,
        head_count=shape.heads,
        head_count_kv=shape.kv_heads,
        head_width=shape.head_width,
        rope_base=shape.rope_base,
        epsilon=shape.epsilon,
        parameters=sum(p.numel() for p in model.parameters()),
    )
    write_gguf(path, header, _tensors(model), vocabulary.tokens, vocabulary.merges)


def _tensors(model: Guide) -> dict:
    named = {"token_embd.weight": model.embedding.weight, "output_norm.weight": model.norm.weight}
    for i, block in enumerate(model.blocks):
        named |= {
            f"blk.{i}.attn_norm.weight": block.attention_norm.weight,
            f"blk.{i}.attn_q.weight": block.attention.q.weight,
            f"blk.{i}.attn_k.weight": block.attention.k.weight,
            f"blk.{i}.attn_v.weight": block.attention.v.weight,
            f"blk.{i}.attn_output.weight": block.attention.output.weight,
            f"blk.{i}.ffn_norm.weight": block.feed_norm.weight,
            f"blk.{i}.ffn_gate.weight": block.feed.gate.weight,
            f"blk.{i}.ffn_up.weight": block.feed.up.weight,
            f"blk.{i}.ffn_down.weight": block.feed.down.weight,
        }
    return {name: weight.detach().float().numpy() for name, weight in named.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[1] / "guide.gguf")
    parser.add_argument("--work", type=Path, default=Path("guide-training"), help="folder for checkpoints")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--max-minutes", type=float, default=35.0)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def keep_freed_memory() -> None:
    """Ask glibc to reuse freed blocks instead of returning them: page faults cost a third of each step otherwise."""
    mmap_max, trim_threshold = -4, -1
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def main() -> None:
    options = _options()
    keep_freed_memory()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    facts = load_facts()
    vocabulary = train_vocabulary(facts, GuideShape.vocabulary, options.seed)
    model = Guide(GuideShape(), options.dropout)
    size = sum(p.numel() for p in model.parameters())
    print(f"{len(facts)} facts, {len(vocabulary.tokens)} tokens, {size:,} parameters", flush=True)
    train_model(model, Conversations(facts, vocabulary, options.seed), options, vocabulary)
    export_model(model, vocabulary, options.output)
    print(f"wrote {options.output}: {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
