# mypy: disable-error-code="import-untyped, no-any-unimported, unused-ignore"
# Why: llama-cpp-python ships no types.
"""Measures guide through llama.cpp: which share of its questions gets exactly the right answer, decoded greedily.

    uv run python -m core.guide.training.evaluate

Prints one line for the phrasings it was trained on and one for those it never saw. `--misses` names the wrong ones.
The training script prints the same shares as torch computes them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.guide import WEIGHTS
from core.guide.training.corpus import END, Fact, build_prompt, load_facts

Answerer = Callable[[str], str]
"""From a prompt in ChatML to the greedy answer without its end token."""

_MOST_ANSWER_TOKENS = 120


@dataclass(frozen=True)
class Miss:
    """A question that got something else than the answer of its fact."""

    question: str
    expected: str
    told: str
    """The id of the fact whose answer came instead, or `?` for a text that is no fact's answer."""
    text: str


def find_misses(facts: Sequence[Fact], kind: str, answer: Answerer) -> list[Miss]:
    """Every phrasing of `kind` (`questions` or `heldout`) that is answered wrongly."""
    owner = {fact.answer: fact.id for fact in facts}
    found: list[Miss] = []
    for fact in facts:
        for question in getattr(fact, kind):
            text = answer(build_prompt(question))
            if text != fact.answer:
                found.append(Miss(question, fact.id, owner.get(text, "?"), text))
    return found


def build_llamacpp_answerer(weights: Path, threads: int) -> Answerer:
    """Greedy decoding with llama.cpp, on the CPU, so that every machine gives the same answer."""
    from llama_cpp import Llama

    model = Llama(str(weights), n_ctx=2048, n_threads=threads, n_gpu_layers=0, verbose=False)
    end = model.tokenize(END.encode(), add_bos=False, special=True)[0]

    def answer(text: str) -> str:
        tokens: list[int] = []
        for token in model.generate(model.tokenize(text.encode(), add_bos=False, special=True), temp=0.0):
            if token == end or len(tokens) == _MOST_ANSWER_TOKENS:
                break
            tokens.append(token)
        return bytes(model.detokenize(tokens)).decode("utf-8", "replace")

    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--misses", action="store_true", help="print every wrong answer")
    options = parser.parse_args()
    facts, answer = load_facts(), build_llamacpp_answerer(options.weights, options.threads)
    for kind in ("questions", "heldout"):
        asked = sum(len(getattr(fact, kind)) for fact in facts)
        wrong = find_misses(facts, kind, answer)
        other = sum(miss.told != "?" for miss in wrong)
        print(f"{kind}: {asked - len(wrong)}/{asked} right = {1 - len(wrong) / asked:.1%}, {other} told another fact")
        for miss in wrong if options.misses else ():
            print(f"  {miss.expected} <- {miss.told}: {miss.question!r} -> {miss.text!r}")


if __name__ == "__main__":
    main()
