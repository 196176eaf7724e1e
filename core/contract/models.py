"""What an engine is, at two depths: a back end that loads artifacts, and the models it makes of them.

Abilities are Protocols, asked for with `isinstance`; there are no flags. A model that cannot fork (recurrent,
hybrid) says so by not offering `fork`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NewType, Protocol, runtime_checkable

from msgspec import Meta, Struct

from core.requests import Generation, Sampling, Transcription

if TYPE_CHECKING:
    from core.events import Event

SequenceId = NewType("SequenceId", int)


class ArtifactFormat(Enum):
    """What a model is stored as; decides which engines accept it."""

    GGUF = "gguf"
    MLX = "mlx"
    ONNX = "onnx"
    ONNX_EMBEDDER = "onnx-embedder"
    """A graph that makes vectors of texts, where ONNX is one that decodes."""
    ONNX_GENAI = "onnx-genai"
    """Graphs with the genai_config.json that the onnxruntime-genai library reads."""
    MNN = "mnn"
    WHISPER = "ggml-whisper"
    PTE = "pte"
    MLC = "mlc"
    URL = "url"
    SCRIPT = "script"
    """The echo engine's scripted replies: no weights at all."""


class Artifact(Struct, frozen=True):
    """A model as it lies on disk (or answers at an address)."""

    name: str
    """The name users know it by; replies carry it, never the path."""
    format: ArtifactFormat
    path: Path
    size: int
    """Bytes on disk, all parts together."""
    url: str = ""
    """Where a server answers, for URL: `http://host:port/v1`, with `#model` where one was named."""
    others: tuple[Artifact, ...] = ()
    """The same model in further formats, for engines that do not take this one."""


class Available(Struct, frozen=True):
    """The engine runs here."""

    version: str


class Unavailable(Struct, frozen=True):
    """The engine does not run here: why, and the command that mends it (None where nothing does)."""

    reason: str
    mend: str | None = None


Availability = Available | Unavailable


class KvType(Enum):
    """Element type of the KV cache."""

    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"


class Lora(Struct, frozen=True, forbid_unknown_fields=True):
    """A low-rank adapter (arXiv 2106.09685) that is added to a model's weights."""

    path: str
    """A file in the model's own format."""
    scale: Annotated[float, Meta(ge=-100, le=100)] = 1.0
    """How much of it."""


DEFAULT_BATCH: Final = 512


class LoadOptions(Struct, frozen=True):
    """How to load. None leaves the choice to the engine, made from the model's header and this machine."""

    context: int | None = None
    """Tokens a single request may hold."""
    slots: int | None = None
    """Sequences that run at once."""
    threads: int | None = None
    """For steps of a single token."""
    batch_threads: int | None = None
    """For prefill, and for steps of several sequences."""
    batch: int | None = None
    """Tokens a step takes at most; None takes what was measured best, else DEFAULT_BATCH."""
    micro_batch: int | None = None
    """Tokens of one forward pass inside a step, for engines that divide steps; None takes what was measured best, else
    as many as the batch."""
    kv_type: KvType = KvType.F16
    flash_attention: bool | None = None
    """None leaves it to the engine."""
    extra_buffers: bool = True
    """llama.cpp's repacked and AMX buffer types; faster where they work, and they crash on some machines."""
    loras: tuple[Lora, ...] = ()
    """Added in this order; for engines that are a LoraHost."""
    memory: int | None = None
    """Bytes the model may take, weights and all, where less is to be used than is free."""
    api_key: str | None = None
    """What a server elsewhere wants to be sent; given to engines that ask one, and to no other."""

    @property
    def step_tokens(self) -> int:
        """Tokens a step takes at most."""
        return self.batch or DEFAULT_BATCH

    @property
    def pass_tokens(self) -> int:
        """Tokens a forward pass takes at most, for engines that divide steps."""
        return min(self.step_tokens, self.micro_batch or self.step_tokens)


class TokenText(Struct, frozen=True):
    """The log-probability of one token id."""

    token: int
    logprob: float


class StepLogprob(Struct, frozen=True):
    """Log-probability of the token drawn and of the likeliest, best first."""

    chosen: float
    top: tuple[TokenText, ...]


class Work(Struct, frozen=True):
    """What one sequence does in a step.

    `tokens` are appended to the sequence. With `sample`, a token is drawn after the last of them. `draft` are guesses
    at what follows: they are appended too, each is kept while it equals the token drawn in its place, and the rest is
    taken back; the distribution of the output never changes.
    """

    sequence: SequenceId
    tokens: Sequence[int]
    sample: bool
    draft: Sequence[int] = ()


class Step(Struct, frozen=True):
    """What came of one `Work`: the tokens drawn, none without `sample`, at most len(draft) + 1."""

    tokens: tuple[int, ...] = ()
    logprobs: tuple[StepLogprob, ...] = ()
    """One for each token where the sequence's sampling asks for them, else empty."""


class Tokenizer(Protocol):
    """Text to token ids and back. Safe to call from any thread."""

    @property
    def size(self) -> int:
        """Number of token ids."""
        ...

    @property
    def controls(self) -> frozenset[str]:
        """How control tokens are written: what `encode` parses with `special`."""
        ...

    def encode(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
        """Token ids of `text`. With `special`, control tokens written in it are parsed. With `begin`, a
        beginning-of-sequence token comes first where the vocabulary wants one, and never twice."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for in output: empty for control tokens; may end amid a character."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation."""
        ...


class ModelSpec(Struct, frozen=True):
    """What is true of a loaded model."""

    architecture: str
    parameters: int
    quantization: str
    context: int
    """Tokens a single sequence may hold."""
    trained_context: int
    slots: int
    """Sequences that may run at once."""
    sequences: int
    """Sequences that may exist at once, resident ones too; more than `slots`."""
    cells: int
    """Tokens of KV state all sequences together may hold; what forked sequences share counts once."""
    batch: int
    """Tokens a step takes at most."""
    threads: int
    weight_bytes: int
    kv_bytes_per_token: int
    template: str | None
    """The Jinja source of the chat template."""
    bos: str = ""
    eos: str = ""
    sampling: Sampling = Sampling()
    """What the model's makers recommend, or the defaults."""
    notes: tuple[str, ...] = ()
    """Anything a user should know about how it was loaded."""


class TokenModel(Protocol):
    """A model that our loop schedules. Everything but `tokenizer` and `interrupt` belongs to one thread."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def open(self, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        """An empty sequence. `history` primes the penalties only; nothing is computed.

        Raises EngineError when `spec.sequences` exist already.
        """
        ...

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        """One batched forward pass over at most `spec.batch` tokens; a Step for each Work, in order.

        Raises Interrupted when `interrupt` was called, EngineFailed when the pass failed. After either, the sequences
        named in `work` hold an unknown number of tokens: trim them to what they had, where the model can, or close
        them.
        """
        ...

    def save(self, sequence: SequenceId) -> bytes:
        """The sequence's KV state, for `restore` on a model of the same artifact and settings."""
        ...

    def restore(self, data: bytes, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        """A new sequence with the saved state. Raises EngineError when the data do not fit."""
        ...

    def close(self, sequence: SequenceId) -> None:
        """Forget the sequence; its KV cells are free unless a fork shares them."""
        ...

    def interrupt(self, on: bool) -> None:
        """Make the running or next step raise Interrupted as soon as it can, until switched off. From any thread."""
        ...

    def shutdown(self) -> None:
        """Free everything; idempotent. Nothing but `interrupt` and `shutdown` may be called afterwards."""
        ...


@runtime_checkable
class StreamModel(Protocol):
    """A model that schedules itself: a server elsewhere, a runtime with a loop of its own."""

    @property
    def spec(self) -> ModelSpec:
        """What is known of it; numbers nobody told are zero. `slots` requests are sent to it at once."""
        ...

    def generate(self, request: Generation, stop: threading.Event) -> Iterator[Event]:
        """The request's events, ending with a `Finished` for each choice or with one `Failed`. Called on a thread of
        its own; ends soon after `stop` is set, by raising Cancelled.

        Raises RequestError before the first event for what the model cannot take.
        """
        ...

    def shutdown(self) -> None:
        """Free everything; idempotent."""
        ...


@runtime_checkable
class Transcriber(Protocol):
    """A model that writes down speech. It does one transcription for each of its `spec.slots` at a time."""

    @property
    def spec(self) -> ModelSpec: ...

    def transcribe(self, request: Transcription, samples: bytes, stop: threading.Event) -> Iterator[Event]:
        """`Heard` for each segment and as the work goes on, then one `Finished`.

        `samples` are what `core.tasks.audio.decode` made of the request's audio. Called on a thread of its own; ends
        soon after `stop` is set, by raising Cancelled. Raises RequestError before the first event for what the model
        cannot do, EngineFailed when it fails.
        """
        ...

    def shutdown(self) -> None:
        """Free everything; idempotent."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """A model that makes a vector of a text. Everything but `encode` and `interrupt` belongs to one thread."""

    @property
    def spec(self) -> ModelSpec:
        """`context` is what one text may hold, `batch` how many tokens a pass takes at most, padding counted, and
        `slots` how many requests are computed side by side."""
        ...

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        ...

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        ...

    def encode(self, text: str, *, limit: int | None = None) -> list[int]:
        """Token ids of a text with those that the model wants around it; with `limit`, the text is cut to that many
        tokens in all. Safe to call from any thread."""
        ...

    def embed(self, inputs: Sequence[Sequence[int]]) -> Sequence[bytes]:
        """A vector for each input, in order, computed in one forward pass: `width` little-endian float32 each.

        An input may be larger than `spec.batch`, and is alone then. Raises Interrupted when `interrupt` was called,
        EngineFailed when the pass failed.
        """
        ...

    def interrupt(self, on: bool) -> None:
        """Make the running or next pass raise Interrupted as soon as it can, until switched off. From any thread."""
        ...

    def shutdown(self) -> None:
        """Free everything; idempotent."""
        ...


@runtime_checkable
class Trims(Protocol):
    """A model whose sequences may be cut at any token."""

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        """A new sequence that shares the first `length` tokens, without copying where the engine can."""
        ...

    def trim(self, sequence: SequenceId, length: int) -> None:
        """Keep the first `length` tokens."""
        ...


Model = TokenModel | StreamModel | Transcriber | Embedder

LoadProgress = Callable[[float], bool]
"""Told how much is loaded, from 0 to 1; answers whether to go on."""


def no_progress(_: float) -> bool:
    """Tells nobody, and goes on."""
    return True


@runtime_checkable
class Threaded(Protocol):
    """A model whose threads can be changed while it is loaded."""

    def set_threads(self, decode: int, batch: int) -> None:
        """`decode` threads for steps of a single token, `batch` for prefill and steps of several sequences."""
        ...


class Engine(Protocol):
    """A back end. Cheap to import and to construct: its native library is loaded by `availability` or `load`."""

    @property
    def name(self) -> str: ...

    @property
    def platform(self) -> str:
        """Where it runs, in words: `any`, `darwin-arm64` ..."""
        ...

    @property
    def priority(self) -> int:
        """Lower is tried first when nothing was measured."""
        ...

    def availability(self) -> Availability:
        """Whether it runs here, found without loading its native library."""
        ...

    def accepts(self, artifact: Artifact) -> bool: ...

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = no_progress) -> Model:
        """Load. Raises ArtifactError for a damaged file, LoadFailed when the engine will not have it, Cancelled when
        `progress` said to give up."""
        ...


@runtime_checkable
class Native(Protocol):
    """An engine whose native code may take the process with it, and must be tried in a child process first."""

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        """The next setting to try after `options` crashed or hung; None when there is none left."""
        ...


@runtime_checkable
class LoraHost(Protocol):
    """An engine that adds low-rank adapters to a model when it is loaded."""

    @property
    def lora_format(self) -> ArtifactFormat:
        """What their files are."""
        ...
