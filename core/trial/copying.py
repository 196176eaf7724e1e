"""How fast a model copies a text when tokens are guessed ahead: about the best that guesses can do."""

from __future__ import annotations

import time

from msgspec import Struct

from core.contract.models import TokenModel
from core.contract.step import SequenceId, Work
from core.decoding.lookup import PromptLookup
from core.decoding.speculate import GuessOutcome, GuessWish, Speculation, count_retractable, tell_why_unguessed
from core.models.fit.sizing import count_drawn_rows
from core.requests import Sampling

BEGUN_TOKENS = 24
"""Of the copy, which the model is to go on with."""
BYTES_PER_TOKEN = 2
"""Of the text, at least; vocabularies of language models have three to four."""
WARM_UP_TOKENS = 48
"""Copied before the clock starts: meanwhile it shows what wide passes cost."""
TEXT = '''def find_longest_run(values):
    """Return where the longest run of equal values begins, and how many there are."""
    best_start, best_length = 0, 0
    start = 0
    for index in range(1, len(values) + 1):
        if index == len(values) or values[index] != values[start]:
            if index - start > best_length:
                best_start, best_length = start, index - start
            start = index
    return best_start, best_length


def count_words(lines):
    """Return how often each word occurs, in lower case and without punctuation."""
    counts = {}
    for line in lines:
        for word in line.lower().split():
            word = word.strip(".,;:!?")
            if word:
                counts[word] = counts.get(word, 0) + 1
    return counts


'''


class CopyRate(Struct, frozen=True):
    """What came of copying."""

    rate: float
    """Tokens a second."""
    acceptance: tuple[float, ...]
    """How often the first guess of a step came true, the second, and so on."""


def count_room(copied: int) -> int:
    """Tokens of context for copying so many, with any vocabulary but those of single characters."""
    return 2 * len(TEXT) // BYTES_PER_TOKEN + copied + WARM_UP_TOKENS


def measure_copying(model: TokenModel, copied: int) -> CopyRate | None:
    """Copy `copied` tokens of a text with prompt lookup. None where nothing is guessed for the model, or where its
    context is too small."""
    if tell_why_unguessed(model):
        return None
    text = model.tokenizer.encode(TEXT, special=False, begin=True)
    prompt = text + model.tokenizer.encode(TEXT, special=False)[:BEGUN_TOKENS]
    if len(prompt) + copied + WARM_UP_TOKENS >= model.spec.context:
        return None
    sequence = model.open(Sampling(temperature=0.0))
    try:
        for start in range(0, len(prompt) - 1, model.spec.batch):
            model.step([Work(sequence, prompt[start : min(start + model.spec.batch, len(prompt) - 1)], sample=False)])
        speculation = Speculation(PromptLookup(), count_drawn_rows(model.spec))
        tokens = list(prompt)
        _draw(model, sequence, tokens, speculation, WARM_UP_TOKENS)
        warm, began = len(tokens), time.perf_counter()
        _draw(model, sequence, tokens, speculation, copied)
        rate = (len(tokens) - warm) / max(time.perf_counter() - began, 1e-9)
    finally:
        model.close(sequence)
    return CopyRate(rate, tuple(each.acceptance for each in speculation.stats.positions))


def _draw(model: TokenModel, sequence: SequenceId, tokens: list[int], speculation: Speculation, count: int) -> None:
    """Append so many tokens to the sequence."""
    end = len(tokens) + count
    while (left := end - len(tokens)) > 0:
        most = min(left - 1, count_retractable(model))
        (guesses,) = speculation.guesses([GuessWish(sequence, tokens, most)])
        began = time.perf_counter()
        (step,) = model.step([Work(sequence, tokens[-1:], sample=True, draft=guesses)])
        seconds = time.perf_counter() - began
        speculation.learn([GuessOutcome(sequence, len(guesses), len(step.tokens) - 1)], seconds)
        tokens += step.tokens
