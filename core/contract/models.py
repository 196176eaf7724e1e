"""What an engine is, at two depths: a back end that loads artifacts, and the models it makes of them.

Abilities are Protocols, asked for with `isinstance`; there are no flags. A model that cannot fork (recurrent,
hybrid) says so by not offering `fork`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct

from core.contract.options import KvType
from core.contract.placement import DeviceBuffers
from core.contract.step import SequenceId, Step, Work
from core.requests import ResolvedGeneration, Sampling, Transcription

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from core.events import Event


class Tokenizer(Protocol):
    """Text to token ids and back. Safe to call from any thread, also while the model is freed and afterwards: what went
    with it raises EngineError then."""

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
    tool_template: str | None = None
    """That for requests with tools, where it is another one."""
    bos: str = ""
    eos: str = ""
    sampling: Sampling = Sampling()
    """What the model's makers recommend, or the defaults."""
    notes: tuple[str, ...] = ()
    """Anything a user should know about how it was loaded."""
    kv_type: KvType | None = None
    """Of the KV cache; None where the engine does not tell."""
    grain: int | None = None
    """Of a model that was loaded to be reproducible: every sequence has KV memory of its own and is computed in passes
    of its own, a prompt in passes that begin at each multiple of `grain` tokens, and what is drawn token by token. The
    engine sees the same shapes then whatever else it serves, and computes the same numbers. None of other models."""
    scans_all_cells: bool = False
    """Whether a pass looks at all cells in use, those of idle sequences too, so that keeping these takes time."""
    buffers: tuple[DeviceBuffers, ...] = ()
    """What lies where, the host first; none where the engine does not tell."""


@runtime_checkable
class TokenModel(Protocol):
    """A model that our loop schedules. Everything but `tokenizer` and `interrupt` belongs to one thread."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def open(self, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        """An empty sequence; nothing is computed. `history` holds the tokens that are known of it: they prime the
        penalties, and a seed goes on where it is behind them.

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
        """What is known of the model; unknown numbers are zero. `slots` requests are sent to it at once."""
        ...

    def generate(self, request: ResolvedGeneration, stop: threading.Event) -> Iterator[Event]:
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

        `samples` are what `core.tasks.audio.decode_audio` made of the request's audio. Called on a thread of its own;
        ends soon after `stop` is set, by raising Cancelled. Raises RequestError before the first event for what the
        model cannot do, EngineFailed when it fails.
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
        """`context` is what one text may hold, `batch` how many tokens a pass takes at most, padding counted where it
        is `padded`, and `slots` how many requests are computed side by side."""
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

    @property
    def padded(self) -> bool:
        """Whether a pass is a rectangle, as long as its longest input; else inputs lie one behind another."""
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


class TokenPair(Struct, frozen=True):
    """A question and a text that may answer it, in one sequence of tokens."""

    tokens: Sequence[int]
    second: int
    """Where the text begins, for models that are told so by token types."""

    def __len__(self) -> int:
        return len(self.tokens)


@runtime_checkable
class Reranker(Protocol):
    """A model that tells how well a text answers a question. Everything but `encode_pair` and `interrupt` belongs to
    one thread."""

    @property
    def spec(self) -> ModelSpec:
        """As that of an Embedder: `context` is what one pair may hold."""
        ...

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        ...

    @property
    def padded(self) -> bool:
        """As that of an Embedder."""
        ...

    @property
    def bounded(self) -> bool:
        """Whether scores are from 0 to 1; else they are logits, of which the logistic function makes that."""
        ...

    def encode_pair(self, query: str, document: str, *, limit: int | None = None) -> TokenPair:
        """The tokens of a pair with those that the model wants around it; with `limit`, the document is cut so that it
        has that many tokens in all, unless the query alone has more. Safe to call from any thread."""
        ...

    def score(self, pairs: Sequence[TokenPair]) -> Sequence[float]:
        """A score for each pair, in order, computed in one forward pass; larger is better.

        A pair may be larger than `spec.batch`, and is alone then. Raises Interrupted when `interrupt` was called,
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


@runtime_checkable
class TellsLogits(Protocol):
    """A model that tells how likely it finds every token behind each one of a text: what quality is measured by."""

    def logits(self, tokens: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
        """Raw logits, (tokens of the pass, vocabulary), pass by pass, in a sequence of their own. Each array is good
        until the next is asked for. `tokens` are no more than the context holds. Raises as `step` does."""
        ...


@runtime_checkable
class Marks(Protocol):
    """A model whose sequences may be cut where they were marked, and nowhere else: recurrent states move on. What is
    saved of a sequence has its marks with it."""

    def mark(self, sequence: SequenceId) -> None:
        """The sequence may be cut at its present length from now on. An earlier mark may go for it."""
        ...

    def marks(self, sequence: SequenceId) -> tuple[int, ...]:
        """Lengths at which the sequence may be cut, ascending."""
        ...

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        """A new sequence that begins with the first `length` tokens, which are one of its `marks`. It shares what it
        can without copying, and has the marks up to there."""
        ...


@runtime_checkable
class TakesBack(Protocol):
    """A model whose sequences cannot be cut, but which takes back the wrong ones of a few guesses."""

    @property
    def most_taken_back(self) -> int:
        """Guesses that a sequence may have in one step."""
        ...


class AheadWish(Struct, frozen=True):
    """A sequence of which the model is to guess the next tokens."""

    sequence: SequenceId
    due: int
    """The token behind those that the sequence has; it is drawn, and not computed yet."""
    most: int
    """Guesses at what follows it."""


@runtime_checkable
class PredictsAhead(Protocol):
    """A model with heads of its own that guess several tokens ahead (multi-token prediction). Its sequences may be
    given drafts."""

    @property
    def most_ahead(self) -> int | None:
        """Guesses that it can make for a sequence at once; None where there is no bound."""
        ...

    def guess_ahead(self, wishes: Sequence[AheadWish]) -> list[list[int]]:
        """The likeliest tokens behind the due one of each, at most so many as are wished for; fewer behind an end of
        the generation. All together, with the due ones, they are no more than a step draws behind. Nothing of it is
        kept in the sequences. Raises EngineFailed."""
        ...


Model = TokenModel | StreamModel | Transcriber | Embedder | Reranker


@runtime_checkable
class Threaded(Protocol):
    """A model whose threads can be changed while it is loaded."""

    def set_threads(self, decode: int, batch: int) -> None:
        """`decode` threads for steps of a single token, `batch` for prefill and steps of several sequences."""
        ...
