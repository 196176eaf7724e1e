"""Sampler chains, all native: what a token costs does not pass through Python."""

from __future__ import annotations

import ctypes
import hashlib
import secrets
from collections.abc import Sequence

import llama_cpp as native
import numpy as np
import numpy.typing as npt

from core.contract.step import StepLogprob
from core.decoding.sampling import tell_weights
from core.requests import Sampling

MIN_KEPT_TOKENS = 1
ANY_SEED = 0xFFFF_FFFF
"""LLAMA_DEFAULT_SEED: by it llama.cpp means a seed of its own choice, another one each time."""
MOST_JOINED_TOKENS = 256
"""Among which beginnings are joined: each is compared with each."""


def build_chain(
    vocab: native.llama_vocab_p, sampling: Sampling, history: Sequence[int], context: int
) -> native.llama_sampler_p:
    """A chain in llama.cpp's usual order: bias, penalties, truncations, temperature, draw. Free it when done.

    `history` primes the penalties, which look at `context` tokens where the sampling says the whole context.
    """
    chain: native.llama_sampler_p = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())

    def add(sampler: native.llama_sampler_p) -> None:
        native.llama_sampler_chain_add(chain, sampler)

    size = native.llama_vocab_n_tokens(vocab)
    biases = [native.llama_logit_bias(token, bias) for token, bias in sampling.logit_bias if 0 <= token < size]
    if biases:
        array = (native.llama_logit_bias * len(biases))(*biases)
        add(native.llama_sampler_init_logit_bias(size, len(biases), array))
    penalized = has_penalties(sampling)
    # llama.cpp makes a buffer of this length, so a number beyond the context would only cost memory and time.
    last = context if sampling.repeat_last_n < 0 else min(sampling.repeat_last_n, context)
    if penalized:
        strengths = sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty
        add(native.llama_sampler_init_penalties(size, last, *strengths))
    if sampling.greedy:
        add(native.llama_sampler_init_greedy())
    else:
        for sampler in _truncations(sampling):
            add(sampler)
        if sampling.joins_beginnings and _has_end(vocab):
            add(native.llama_sampler_init_top_k(MOST_JOINED_TOKENS))
            add(native.llama_sampler_init_infill(vocab))
        add(native.llama_sampler_init_temp(sampling.temperature))
        add(native.llama_sampler_init_dist(secrets.randbelow(ANY_SEED)))
    if penalized:
        for token in history[-last:]:
            native.llama_sampler_accept(chain, token)
    return chain


def count_enough(sampling: Sampling) -> int | None:
    """How many of the likeliest tokens a chain draws alike from as from all; None where it looks at all."""
    if sampling.logit_bias or has_penalties(sampling):
        return None
    return 1 if sampling.greedy else sampling.top_k or None


def seed_draw(chain: native.llama_sampler_p, seed: int, position: int) -> None:
    """Have `chain`, which is not greedy, draw the token at `position` of a sequence by `seed`.

    llama.cpp's own generator would begin anew in a chain that is made anew. So each place has a seed of its own, and a
    sequence that was taken up again goes on as if it had run through.
    """
    last = native.llama_sampler_chain_n(chain) - 1
    native.llama_sampler_free(native.llama_sampler_chain_remove(chain, last))
    digest = hashlib.blake2b(b"%d %d" % (seed, position), digest_size=4).digest()
    native.llama_sampler_chain_add(chain, native.llama_sampler_init_dist(int.from_bytes(digest) % ANY_SEED))


def has_penalties(sampling: Sampling) -> bool:
    """Whether any penalty has an effect."""
    return sampling.repeat_last_n != 0 and (
        sampling.repeat_penalty != 1.0 or sampling.frequency_penalty != 0.0 or sampling.presence_penalty != 0.0
    )


def _has_end(vocab: native.llama_vocab_p) -> bool:
    """Where beginnings are joined, an end may be drawn; llama.cpp would abort the process for the want of one."""
    return bool(max(native.llama_vocab_eot(vocab), native.llama_vocab_eos(vocab)) >= 0)


def _truncations(sampling: Sampling) -> list[native.llama_sampler_p]:
    """Only those that have an effect: each would sort or scan the candidates."""
    samplers = []
    if sampling.top_k > 0:
        samplers.append(native.llama_sampler_init_top_k(sampling.top_k))
    if sampling.typical_p < 1.0:
        samplers.append(native.llama_sampler_init_typical(sampling.typical_p, MIN_KEPT_TOKENS))
    if sampling.top_p < 1.0:
        samplers.append(native.llama_sampler_init_top_p(sampling.top_p, MIN_KEPT_TOKENS))
    if sampling.min_p > 0.0:
        samplers.append(native.llama_sampler_init_min_p(sampling.min_p, MIN_KEPT_TOKENS))
    return samplers


class CandidateTokens:
    """Draws among a few tokens, those that a mask allows or the likeliest: a chain is given those alone, so that others
    are in no sum or sort, and take no time."""

    def __init__(self, vocabulary: int) -> None:
        self._data = np.zeros(vocabulary, np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)]))
        self._array = native.llama_token_data_array()

    def draw(self, chain: native.llama_sampler_p, logits: npt.NDArray[np.float32], tokens: npt.NDArray[np.intp]) -> int:
        """The token that `chain` draws by logits (vocabulary,) from the ids `tokens`, and takes for said."""
        data = self._data[: len(tokens)]
        data["id"] = tokens
        data["logit"] = logits[tokens]
        array = self._array
        array.data = ctypes.cast(data.ctypes.data, ctypes.POINTER(native.llama_token_data))  # type: ignore[assignment]
        array.size, array.selected, array.sorted = len(tokens), -1, False
        native.llama_sampler_apply(chain, ctypes.byref(array))
        token = int(array.data[array.selected].id)
        native.llama_sampler_accept(chain, token)
        return token

    def weigh(self, sampling: Sampling) -> StepLogprob:
        """By which probabilities the last token was drawn, and the likeliest of those that it was drawn from."""
        left, selected = self._data[: self._array.size], self._array.selected
        wanted = sampling.logprobs or 0
        if sampling.greedy:
            return tell_weights(left["id"][selected : selected + 1], np.ones(1), 0, wanted)
        logits = left["logit"].astype(np.float64)
        weights = np.exp(logits - logits.max())
        return tell_weights(left["id"], weights / weights.sum(), selected, wanted)


class AbortFlag:
    """A flag that native code reads by itself, between two nodes of the graph.

    The callback must not be Python: it runs for every node and would fight the event loop for the interpreter's lock.
    libc's `strlen` serves: of the empty string it is 0, of a string of one character it is 1, and that is all
    ggml's `bool (*)(void *)` looks at.
    """

    def __init__(self) -> None:
        self._text = ctypes.create_string_buffer(2)
        library = ctypes.CDLL("msvcrt") if hasattr(ctypes, "WinDLL") else ctypes.CDLL(None)
        self._strlen = library.strlen

    def attach(self, context: native.llama_context_p) -> None:
        callback = ctypes.cast(self._strlen, native.ggml_abort_callback)
        native.llama_set_abort_callback(context, callback, ctypes.cast(self._text, ctypes.c_void_p))

    def set(self, on: bool) -> None:
        self._text[0] = b"\x01" if on else b"\x00"
