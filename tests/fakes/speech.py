"""Speech for tests: a ggml whisper file of minimal size, and sounds in any format.

The weights are random but for a script: at each position of the decoder one token is far likelier than all others, so
what the model "hears" is known to the letter, whatever the audio.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

STATE, HEADS, LAYERS, TEXT_CONTEXT, MELS, WORDS = 64, 1, 1, 32, 80, 50257
VOCABULARY = 51865
"""That of the multilingual models; the English ones have one word less."""
END, START, FIRST_LANGUAGE, BEGIN = 50257, 50258, 50259, 50364
"""<|endoftext|>, <|startoftranscript|>, <|en|>, <|0.00|>"""
GERMAN = FIRST_LANGUAGE + 2
HELLO, WORLD, UE_1, UE_2 = 1000, 1001, 1002, 1003
TEXTS = {220: b" ", HELLO: b" hello", WORLD: b" world", UE_1: b" \xc3", UE_2: b"\xbc"}
"""The blank, without which whisper.cpp draws nothing; and the halves of a character."""


def at(seconds: float) -> int:
    """The token of a time."""
    return BEGIN + round(seconds * 50)


SCRIPT = (at(0), HELLO, WORLD, at(0.5), at(0.5), UE_1, UE_2, WORLD, at(1.0), END)
"""Two segments within the first second."""
PROMPT = 3
"""Tokens before the first one drawn: start, language, task."""


def write_whisper(path: Path, script: tuple[int, ...] = SCRIPT, *, english: bool = False, half: bool = True) -> Path:
    """A whole model. `english`: the vocabulary of an English-only one, with all ids of control tokens one lower."""
    vocabulary = VOCABULARY - english
    with path.open("wb") as file:
        file.write(b"lmgg")
        counts = (vocabulary, 1500, STATE, HEADS, LAYERS, TEXT_CONTEXT, STATE, HEADS, LAYERS, MELS, int(half))
        file.write(struct.pack("<11i", *counts))
        file.write(struct.pack("<2i", MELS, 201))
        file.write(_filters().tobytes())
        words = WORDS - english
        file.write(struct.pack("<i", words))
        for index in range(words):
            word = TEXTS.get(index, b" w%d" % index)
            file.write(struct.pack("<i", len(word)) + word)
        for name, values in _tensors(script, vocabulary):
            _write_tensor(file, name, values, half=half)
    return path


def _filters() -> Floats:
    """Bands of equal width; the real ones are narrower at the bottom."""
    filters = np.zeros((MELS, 201), dtype=np.float32)
    for band in range(MELS):
        filters[band, 2 * band : 2 * band + 4] = 0.02
    return filters


def _tensors(script: tuple[int, ...], vocabulary: int) -> list[tuple[str, Floats]]:
    random = np.random.default_rng(7)

    def noise(*shape: int) -> Floats:
        return (random.standard_normal(shape) * 0.02).astype(np.float32)

    def norm(name: str) -> list[tuple[str, Floats]]:
        return [(f"{name}.weight", np.ones(STATE, np.float32)), (f"{name}.bias", np.zeros(STATE, np.float32))]

    def attention(name: str) -> list[tuple[str, Floats]]:
        parts = [(f"{name}.{part}.weight", noise(STATE, STATE)) for part in ("query", "key", "value", "out")]
        return parts + [(f"{name}.{part}.bias", noise(STATE)) for part in ("query", "value", "out")]

    def block(name: str) -> list[tuple[str, Floats]]:
        return [
            *norm(f"{name}.attn_ln"),
            *attention(f"{name}.attn"),
            *norm(f"{name}.mlp_ln"),
            (f"{name}.mlp.0.weight", noise(4 * STATE, STATE)),
            (f"{name}.mlp.0.bias", noise(4 * STATE)),
            (f"{name}.mlp.2.weight", noise(STATE, 4 * STATE)),
            (f"{name}.mlp.2.bias", noise(STATE)),
        ]

    embedding, positions = _scripted(script, noise(vocabulary, STATE))
    return [
        ("encoder.positional_embedding", noise(1500, STATE)),
        ("encoder.conv1.weight", noise(STATE, MELS, 3)),
        ("encoder.conv1.bias", noise(STATE, 1)),
        ("encoder.conv2.weight", noise(STATE, STATE, 3)),
        ("encoder.conv2.bias", noise(STATE, 1)),
        *block("encoder.blocks.0"),
        *norm("encoder.ln_post"),
        ("decoder.positional_embedding", positions),
        ("decoder.token_embedding.weight", embedding),
        *block("decoder.blocks.0"),
        *norm("decoder.blocks.0.cross_attn_ln"),
        *attention("decoder.blocks.0.cross_attn"),
        *norm("decoder.ln"),
    ]


def _scripted(script: tuple[int, ...], embedding: Floats) -> tuple[Floats, Floats]:
    """Embeddings under which position p has a direction of its own, and the p-th token of the script lies in it.

    At position 0 stands the start token, after which the language is drawn. Past the script the end goes on.
    """
    drawn = {0: GERMAN} | {PROMPT - 1 + index: token for index, token in enumerate(script)}
    positions = np.zeros((TEXT_CONTEXT, STATE), dtype=np.float32)
    for position in range(TEXT_CONTEXT):
        positions[position, position] = 30.0
        embedding[drawn.get(position, END), position] += 3.0
    return embedding, positions


def _write_tensor(file: BinaryIO, name: str, values: Floats, *, half: bool) -> None:
    # Positions and all vectors stay whole; a convolution's bias counts as one.
    whole = not half or values.ndim == 1 or values.shape[-1] == 1 or name.endswith("positional_embedding")
    data = values.astype("<f4" if whole else "<f2")
    shape = values.shape[::-1]
    file.write(struct.pack("<3i", len(shape), len(name), 0 if whole else 1))
    file.write(struct.pack(f"<{len(shape)}i", *shape))
    file.write(name.encode() + data.tobytes())


def tone(frequency: float = 440.0, seconds: float = 1.0, rate: int = 44_100, channels: int = 1) -> Floats:
    """A sine of half the full scale, as (channels, samples)."""
    times = np.arange(round(seconds * rate)) / rate
    wave = (0.5 * np.sin(2 * np.pi * frequency * times)).astype(np.float32)
    return np.tile(wave, (channels, 1))


FORMATS = {
    "wav": ("wav", "pcm_s16le", "s16"),
    "flac": ("flac", "flac", "s16"),
    "mp3": ("mp3", "libmp3lame", "s16p"),
    "ogg": ("ogg", "libopus", "s16"),
    "m4a": ("ipod", "aac", "fltp"),
}
"""Suffix to ffmpeg's container, codec and sample format."""


def encoded(wave: Floats, suffix: str = "wav", rate: int = 44_100) -> bytes:
    """A sound as a file of that kind."""
    container_name, codec, kind = FORMATS[suffix]
    file = io.BytesIO()
    layout = "stereo" if len(wave) == 2 else "mono"
    with av.open(file, "w", format=container_name) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        stream.format = kind
        frame = av.AudioFrame.from_ndarray(_shaped(wave, kind), format=kind, layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _shaped(wave: Floats, kind: str) -> Floats | NDArray[np.int16]:
    """As PyAV takes it: planes stay apart where the format has them, else samples of all channels take turns."""
    data: Floats | NDArray[np.int16] = wave if kind.startswith("flt") else (wave * 32767).astype(np.int16)
    return data if kind.endswith("p") else data.T.reshape(1, -1)
