"""Whether there was speech at all where a model heard some.

A speech model writes text for whatever it hears: "Thank you." for a noise, "you" for a silence. Whisper was trained to
say so itself: after `<|startoftranscript|>` alone, the probability of `<|nospeech|>` is that of a window without speech
(https://github.com/openai/whisper, `decoding.py`). whisper.cpp looks behind the whole prompt instead, where that
probability means nothing, and OpenAI's own rule (over 0.6, and a mean log-probability under -1) rests on it not being
sure of its inventions, which it is: "you" for silence comes at -0.01.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final

import _pywhispercpp as native
import numpy as np

from core.events import SpeechSegment

SURE_SHARE: Final = 0.6
"""Chance of no speech, above which nothing was said. Of clear, quiet and noisy speech it stayed below 0.4."""
DOUBT_SHARE: Final = 0.5
"""Above it nothing was said where the text itself looks invented: improbable, or said over and over."""
IMPROBABLE_LOGPROB: Final = -1.0
"""Mean log-probability of a text that is likely wrong; OpenAI's own number."""
FLOOR_AMPLITUDE: Final = 1e-4
"""Samples below it, which is -80 dB, are silence by anyone's measure, and need not be heard."""


class SpeechGauge:
    """Asks a context about the window that it encoded last. Only on the thread that runs whisper.cpp."""

    def __init__(self, context: native.whisper_context) -> None:
        self._library: ctypes.CDLL | None = _library()
        if self._library is None:
            return
        # The bindings wrap the pointer in a struct of its own, to which pybind11 keeps a pointer behind Python's head.
        wrapper = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
        self._context = ctypes.c_void_p.from_address(wrapper or 0).value
        self._size = int(self._library.whisper_n_vocab(self._context))
        self._nothing = int(self._library.whisper_token_nosp(self._context))
        self._start = (ctypes.c_int32 * 1)(native.whisper_token_sot(context))

    def silence(self, threads: int) -> float | None:
        """The chance that there is no speech in the window, from 0 to 1; None where that cannot be found out."""
        library = self._library
        if library is None or library.whisper_decode(self._context, self._start, 1, 0, threads):
            return None
        logits = np.ctypeslib.as_array(library.whisper_get_logits(self._context), (self._size,)).astype(np.float64)
        weights = np.exp(logits - logits.max())
        return float(weights[self._nothing] / weights.sum())


def _library() -> ctypes.CDLL | None:
    """whisper.cpp itself, through the bindings; None where its functions are not found that way (Windows)."""
    try:
        library = ctypes.CDLL(native.__file__)
        pointer, number = ctypes.c_void_p, ctypes.c_int32
        library.whisper_decode.argtypes = (pointer, ctypes.POINTER(number), number, number, number)
        library.whisper_get_logits.argtypes = (pointer,)
        library.whisper_get_logits.restype = ctypes.POINTER(ctypes.c_float)
        library.whisper_n_vocab.argtypes = library.whisper_token_nosp.argtypes = (pointer,)
    except (OSError, AttributeError):
        return None
    return library


def is_silent(samples: bytes) -> bool:
    """Whether decoded audio is digital silence, or next to it."""
    audio = np.frombuffer(samples, dtype=np.float32)
    return bool(audio.size == 0 or np.abs(audio).max() < FLOOR_AMPLITUDE)


def is_invented(segments: Sequence[SpeechSegment], silence: float | None, dropped: str) -> bool:
    """Whether the segments of one window are no speech: pure. `dropped` is the text of the last that were not."""
    if silence is None or silence <= DOUBT_SHARE:
        return False
    if silence > SURE_SHARE:
        return True
    texts = [segment.text.strip() for segment in segments]
    tokens = sum(len(segment.tokens) for segment in segments)
    mean = sum(segment.logprob * len(segment.tokens) for segment in segments) / max(1, tokens)
    return mean < IMPROBABLE_LOGPROB or len(set(texts)) < len(texts) or texts[0] in dropped
