"""What serving does to a model besides computing: tokenise, detokenise, render, branch, save. Done once in a trial run.

Native code ends its process where a file's vocabulary is not what it takes for granted, at the first text as a rule and
not while it loads. Whatever dies of it should be a child, so all of it is done here before the clock starts.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import product
from typing import assert_never

from msgspec.structs import replace

from core.contract.models import (
    AheadWish,
    Embedder,
    Model,
    PredictsAhead,
    Reranker,
    StreamModel,
    Tokenizer,
    TokenModel,
    Transcriber,
    Trims,
)
from core.contract.step import SequenceId, Work
from core.errors import BenchtopError, LogitsBroken
from core.hardware import measure_resident
from core.requests import (
    Conversation,
    Message,
    Prompt,
    RawText,
    ResolvedGeneration,
    Role,
    Sampling,
    TextPart,
    Transcription,
)
from core.tasks.audio import SAMPLES_PER_SECOND

TEXTS = (
    "hello",
    " Hello, World! It's 12345.67 o'clock\n\n\tand  twice   as late ",
    "é ß € 日本語 العربية हिन्दी ไทย 한국어 🙂 👩‍👩‍👧‍👦 e\u0301",
    "".join(map(chr, range(256))),
    "\0\x1b\x7f\u200b\u202e\u2028\ufeff\ufffd\ue000\U000f0000\U0010ffff",
    "<|im_start|>user\n<|im_end|><s></s>[INST]<start_of_turn>\u2581\u0120\u010a",
    "a" * 600 + "\n" * 200 + " " * 200 + "🙂" * 100,
)
"""What people and attackers send; none is empty, which embedders may refuse."""
BROKEN = "it computes what are no numbers; its weights are damaged, or this setting breaks them"
MOST_TOKENS = 24
"""Tokens of a text that are computed."""


class UnfitModel(Exception):
    """The model would do harm in a server; the sentence says why."""


def rehearse_model(model: Model) -> int:
    """Do once what serving will do. What a model declines in good order is its right. Returns the bytes that the
    process grew by for the words of the vocabulary and the chat template, which are no part of a load.

    Raises UnfitModel, and whatever else the model raises that is no BenchtopError; ends the process where serving it
    would.
    """
    match model:
        case Transcriber():
            _hear(model)
        case Embedder():
            _embed(model)
        case Reranker():
            _rank(model)
        case StreamModel():
            _converse(model)
        case TokenModel():
            return _serve(model)
        case _:
            assert_never(model)
    return 0


def _serve(model: TokenModel) -> int:
    tokenizer, before = model.tokenizer, measure_resident()
    _read(tokenizer)
    prompts = [_check_tokens(tokens, tokenizer.size)[:MOST_TOKENS] for tokens in _tokenise_texts(tokenizer)]
    prompts.append(_conversation(model))
    prompts, grown = [prompt for prompt in prompts if prompt], measure_resident() - before
    for prompt in prompts[-2:]:
        try:
            _decode(model, prompt)
        except LogitsBroken as error:
            raise UnfitModel(BROKEN) from error
        except BenchtopError:
            # Declined in good order.
            continue
    return max(0, grown)


def _read(tokenizer: Tokenizer) -> None:
    """Every token in turn: which of them a model draws is not known before."""
    for token in range(tokenizer.size):
        tokenizer.piece(token)
        tokenizer.is_end(token)


def _tokenise_texts(tokenizer: Tokenizer) -> Iterator[list[int]]:
    """Texts of all kinds, and the vocabulary's own words, as tokens."""
    step = max(1, tokenizer.size // 512)
    words = b"".join(tokenizer.piece(token) for token in range(0, tokenizer.size, step)).decode("utf-8", "replace")
    for text, special, begin in product(("", *TEXTS, words, *sorted(tokenizer.controls)), (False, True), (False, True)):
        yield tokenizer.encode(text, special=special, begin=begin)


def _check_tokens(tokens: list[int], size: int) -> list[int]:
    """Raises UnfitModel for ids beyond the vocabulary, which a model would look up in memory that is not its own."""
    for token in tokens:
        if not 0 <= token < size:
            raise UnfitModel(f"its tokenizer makes token {token} of a text, and the vocabulary has {size}")
    return tokens


def _conversation(model: TokenModel) -> list[int]:
    """The beginning of a chat; what its template does wrong is told when it is loaded."""
    from core.chat.prompt import PromptEncoder
    from core.chat.template import ChatTemplate

    spec = model.spec
    with suppress(BenchtopError):
        encoder = PromptEncoder(ChatTemplate(spec.template, spec.bos, spec.eos), model.tokenizer)
        return _check_tokens(encoder.encode(_messages(), {}), model.tokenizer.size)[:MOST_TOKENS]
    return []


def _messages() -> tuple[Message, ...]:
    return (Message(Role.USER, (TextPart(TEXTS[0]),)),)


def _decode(model: TokenModel, prompt: Sequence[int]) -> None:
    """Two sequences side by side, drawn at random with all that costs the engine anything; then put aside and back."""
    sampling = Sampling(seed=1, repeat_penalty=1.1, presence_penalty=0.1, logprobs=2)
    room = max(1, min(len(prompt), model.spec.batch // 2, model.spec.context - 4))
    first = model.open(sampling, prompt[:room])
    opened = [first]
    try:
        token = _step(model, first, prompt[:room])
        if model.spec.sequences > 1:
            opened.append(_branch(model, first, room, replace(sampling, temperature=0.0)))
            model.step([Work(sequence, [token], sample=True) for sequence in opened])
            if isinstance(model, Trims):
                model.trim(first, room)
        data = model.save(first)
        model.close(opened.pop())
        back = model.restore(data, sampling)
        opened.append(back)
        token = _step(model, back, [token])
        _guess(model, back, token)
    finally:
        for sequence in opened:
            model.close(sequence)


def _guess(model: TokenModel, sequence: SequenceId, token: int) -> None:
    """Guess with the model's own heads, and verify it."""
    if isinstance(model, PredictsAhead):
        (guesses,) = model.guess_ahead([AheadWish(sequence, token, 2)])
        model.step([Work(sequence, [token], sample=True, draft=_check_tokens(guesses, model.tokenizer.size))])


def _branch(model: TokenModel, sequence: SequenceId, length: int, sampling: Sampling) -> SequenceId:
    if isinstance(model, Trims):
        return model.fork(sequence, length, sampling)
    return model.restore(model.save(sequence), sampling)


def _step(model: TokenModel, sequence: SequenceId, tokens: Sequence[int]) -> int:
    (step,) = model.step([Work(sequence, tokens, sample=True)])
    if any(math.isnan(each.chosen) for each in step.logprobs):
        raise UnfitModel(BROKEN)
    return _check_tokens(list(step.tokens), model.tokenizer.size)[0]


def _embed(model: Embedder) -> None:
    texts: list[list[int]] = []
    for text in TEXTS:
        with suppress(BenchtopError):
            model.encode(text)
            texts.append(
                _check_tokens(model.encode(text, limit=min(MOST_TOKENS, model.spec.context)), model.vocabulary)
            )
    for tokens in (texts[:1], texts[:2]):
        if tokens and len(tokens) * max(map(len, tokens)) <= model.spec.batch:
            with suppress(BenchtopError):
                model.embed(tokens)


def _rank(model: Reranker) -> None:
    pairs = []
    for text in TEXTS:
        with suppress(BenchtopError):
            model.encode_pair(TEXTS[0], text)
            pair = model.encode_pair(TEXTS[0], text, limit=min(MOST_TOKENS, model.spec.context))
            _check_tokens(list(pair.tokens), model.vocabulary)
            pairs.append(pair)
    for several in (pairs[:1], pairs[:2]):
        if several and len(several) * max(map(len, several)) <= model.spec.batch:
            with suppress(BenchtopError):
                model.score(several)


def _hear(model: Transcriber) -> None:
    """A noise in whatever language that is, each word with its time."""
    asked = Transcription("trial", b"", fallback=False, words=True)
    with suppress(BenchtopError):
        for _ in model.transcribe(asked, make_noise(1.0), threading.Event()):
            pass


def make_noise(seconds: float) -> bytes:
    """Decoded audio that is not silent."""
    import numpy as np

    samples = np.random.default_rng(1).standard_normal(round(seconds * SAMPLES_PER_SECOND)) * 0.1
    return samples.astype(np.float32).tobytes()


def _converse(model: StreamModel) -> None:
    """Chat and plain text, two tokens each."""
    prompts: list[Prompt] = [Conversation(_messages()), *map(RawText, TEXTS)]
    for prompt in prompts:
        with suppress(BenchtopError):
            for _ in model.generate(
                ResolvedGeneration("trial", prompt, Sampling(seed=1), max_tokens=2), threading.Event()
            ):
                pass
