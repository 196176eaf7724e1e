"""Heads for several tokens (multi-token prediction, MTP) that some models carry: layers behind the last one that guess
from its hidden states what the model will draw.

llama.cpp computes them in a context of their own. It is fed with pairs: a token, and the hidden state of the model at
the token before it. So it knows of a sequence what the model has computed, and follows where that is forked and cut.

See "DeepSeek-V3 Technical Report" (arXiv 2412.19437), section 2.2.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence

import llama_cpp as native
import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp_ext as extension

from core.contract.models import AheadWish, ModelSpec
from core.contract.step import SequenceId
from core.engines.llamacpp.batch import NativeBatch
from core.engines.llamacpp.model import NO_SLOT, NoSlot
from core.errors import EngineFailed
from core.models.formats.gguf_mtp import SEVERAL

PENDING_TOKENS = 32
"""Of one sequence that wait for the next guesses, with their hidden states; then they are fed without."""

Rows = npt.NDArray[np.float32]
"""Hidden states, (tokens, width)."""


class _AheadLine:
    """What the heads know of one sequence.

    They have computed the first `fed` tokens; `before` is the model's hidden state at the last of these. `tokens` are
    those that the model has computed beyond, and `rows` its hidden states there. `due` is the token behind all of them
    where the heads have computed it already, to guess what follows.
    """

    __slots__ = ("before", "due", "fed", "rows", "tokens")

    def __init__(self, fed: int, before: Rows) -> None:
        self.fed = fed
        self.before = before
        self.tokens: list[int] = []
        self.rows: list[Rows] = []
        self.due: int | None = None

    @property
    def length(self) -> int:
        return self.fed + len(self.tokens)

    def copy(self) -> _AheadLine:
        made = _AheadLine(self.fed, self.before)
        made.tokens, made.rows = list(self.tokens), list(self.rows)
        return made

    def take_fed(self) -> None:
        """The heads have computed all of `tokens`."""
        if self.tokens:
            self.fed += len(self.tokens)
            self.before = self.rows[-1][-1].copy()
            self.tokens, self.rows = [], []

    def list_states(self) -> list[Rows]:
        """The hidden states that go with `tokens`, and with one more."""
        return [self.before[np.newaxis], *self.rows]


class _Draft:
    """A sequence for which guesses are made."""

    def __init__(self, wish: AheadWish, line: _AheadLine) -> None:
        self.wish = wish
        self.line = line
        self.guesses: list[int] = []
        self.states: list[Rows] = [line.before[np.newaxis]]
        """Those that go with the due token and the guesses."""


class MtpHeads:
    """The heads of one model, in a context that it takes over. Belongs to the model's thread.

    A failure costs the guesses alone: afterwards nothing is fed, and `guess` says why.
    """

    def __init__(self, context: native.llama_context_p, model: native.llama_model_p, spec: ModelSpec) -> None:
        """`context` is of type MTP, and linked to the model's own."""
        self._context = context
        self._memory = native.llama_get_memory(context)
        self._size: int = native.llama_vocab_n_tokens(native.llama_model_get_vocab(model))
        self._width: int = native.llama_model_n_embd_out(model)
        self._count: int = native.llama_model_n_layer_nextn(model)
        """Heads: a single one guesses again and again from its own hidden states, of several each guesses one token."""
        self._batch = NativeBatch(spec.batch)
        self._states = np.zeros((spec.batch, self._width), np.float32)
        self._batch.point_at(self._states)
        self._unknown = np.zeros(self._width, np.float32)
        self._lines: dict[SequenceId, _AheadLine] = {}
        self._problem = ""
        extension.llama_set_embeddings_nextn(context, True, spec.architecture in SEVERAL)

    @property
    def most(self) -> int | None:
        """Guesses in a row; None where there is no bound."""
        return self._count if self._count > 1 else None

    @property
    def working(self) -> bool:
        return not self._problem

    def read_states(self, main: native.llama_context_p, count: int) -> Rows | None:
        """The hidden states of the `count` tokens that the model's own context computed last, as they lie there until
        the next pass. None where there are none, and where the heads have failed."""
        if self._problem:
            return None
        try:
            return _view_rows(extension.llama_get_embeddings_nextn(main), count, self._width)
        except EngineFailed as error:
            self._problem = str(error)
            return None

    def learn(self, sequence: SequenceId, tokens: Sequence[int], states: Rows) -> None:
        """The model has computed these tokens of the sequence, with these hidden states."""
        if self._problem or not len(tokens):
            return
        line = self._lines.get(sequence)
        if line is None:
            line = self._lines[sequence] = _AheadLine(0, self._unknown)
        skipped = 0
        if line.due is not None:
            if line.due == tokens[0]:
                skipped, line.fed, line.before = 1, line.fed + 1, states[0].copy()
            else:
                self._cut(sequence, line.fed)
            line.due = None
        if skipped < len(tokens):
            line.tokens += tokens[skipped:]
            # A view would keep the states of the whole step.
            line.rows.append(states[skipped:].copy())

    def settle(self) -> None:
        """Feed what has waited for long. After a step."""
        if self._problem:
            return
        waiting = [sequence for sequence, line in self._lines.items() if len(line.tokens) >= PENDING_TOKENS]
        for sequence in waiting:
            try:
                self._feed([sequence])
            except NoSlot:
                # What it knows goes, and what comes is seen.
                length = self._lines[sequence].length
                self._cut(sequence, 0)
                self._lines[sequence] = _AheadLine(length, self._unknown)
            except EngineFailed as error:
                self._problem = str(error)
                return

    def guess(self, wishes: Sequence[AheadWish], ends: frozenset[int]) -> list[list[int]]:
        """As `PredictsAhead.guess_ahead`; nothing is guessed behind a token of `ends`."""
        if self._problem:
            raise EngineFailed(self._problem)
        drafts = [
            _Draft(wish, self._lines[wish.sequence])
            for wish in wishes
            if wish.most > 0 and wish.sequence in self._lines
        ]
        try:
            self._draft(drafts, ends)
        except NoSlot:
            # The guesses so far are as good as any.
            for draft in drafts:
                self._cut(draft.wish.sequence, draft.line.fed)
        except EngineFailed as error:
            self._problem = str(error)
            raise
        found = {draft.wish.sequence: draft.guesses for draft in drafts}
        return [found.get(wish.sequence, []) for wish in wishes]

    def fork(self, sequence: SequenceId, child: SequenceId, length: int) -> None:
        line = self._lines.get(sequence)
        if line is None:
            return
        native.llama_memory_seq_cp(self._memory, sequence, child, 0, min(length, line.fed))
        self._lines[child] = line.copy()
        self.trim(child, length)

    def trim(self, sequence: SequenceId, length: int) -> None:
        line = self._lines.get(sequence)
        if line is None:
            return
        if line.due is not None:
            self._cut(sequence, line.fed)
            line.due = None
        if length < line.fed:
            # The state there is not known any more: one token is guessed without it.
            self._cut(sequence, length)
            made = self._lines[sequence] = _AheadLine(length, self._unknown)
            line = made
        elif length < line.length:
            kept = length - line.fed
            line.tokens = line.tokens[:kept]
            line.rows = [np.concatenate(line.rows)[:kept]] if kept else []

    def close(self, sequence: SequenceId) -> None:
        if self._lines.pop(sequence, None) is not None:
            native.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def save(self, sequence: SequenceId) -> bytes:
        """What `restore` takes: the hidden state at the sequence's end, and the heads' own state behind it. Empty where
        there is none."""
        line = self._lines.get(sequence)
        if line is None or self._problem:
            return b""
        if line.due is not None:
            self._cut(sequence, line.fed)
            line.due = None
        try:
            self._feed([sequence])
        except NoSlot:
            self._cut(sequence, line.fed)
            return b""
        except EngineFailed as error:
            self._problem = str(error)
            return b""
        size = native.llama_state_seq_get_size(self._context, sequence)
        buffer = (ctypes.c_uint8 * size)()
        written = native.llama_state_seq_get_data(self._context, buffer, size, sequence)
        return line.before.tobytes() + bytes(memoryview(buffer)[:written]) if written else b""

    def restore(self, sequence: SequenceId, length: int, data: bytes) -> None:
        """Go on with a sequence of `length` tokens. Without data, or with foreign ones, the heads see what comes."""
        line = self._lines[sequence] = _AheadLine(length, self._unknown)
        start = self._unknown.nbytes
        if len(data) <= start:
            return
        # llama.cpp only reads them, and `data` outlives the call.
        state = np.frombuffer(data, np.uint8, offset=start).ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        if native.llama_state_seq_set_data(self._context, state, len(data) - start, sequence):
            line.before = np.frombuffer(data, np.float32, self._width).copy()

    def set_threads(self, decode: int, batch: int) -> None:
        native.llama_set_n_threads(self._context, decode, batch)

    def shutdown(self) -> None:
        """Before the model's own context is freed."""
        self._lines.clear()
        native.llama_free(self._context)

    def _feed(self, sequences: Iterable[SequenceId]) -> None:
        """Compute what waits of these sequences, in as many passes as the batch needs. Raises EngineFailed."""
        for sequence in sequences:
            line = self._lines[sequence]
            states = np.concatenate(line.list_states())
            for start in range(0, len(line.tokens), len(self._states)):
                part = line.tokens[start : start + len(self._states)]
                position = line.fed + start
                end = self._fill(0, sequence, part, states[start : start + len(part)], position, outputs=0)
                for head in range(self._count):
                    if head:
                        self._cut(sequence, position)
                    self._decode(end, head)
            line.take_fed()

    def _draft(self, drafts: list[_Draft], ends: frozenset[int]) -> None:
        waiting = sum(len(draft.line.tokens) for draft in drafts)
        if self._count > 1 or waiting + len(drafts) > len(self._states):
            self._feed(draft.wish.sequence for draft in drafts if draft.line.tokens)
        for draft in drafts:
            if draft.line.due is not None:
                # The step that was to come did not, and the same is asked again.
                self._cut(draft.wish.sequence, draft.line.fed)
                draft.line.due = None
        running, round_ = drafts, 0
        while running:
            rows = self._run_round(running, round_)
            for draft, row in zip(running, rows, strict=True):
                if not round_:
                    draft.line.take_fed()
                    draft.states = [draft.line.before[np.newaxis]]
                self._take(draft, row)
            round_ += 1
            most = self._count if self._count > 1 else round_ + 1
            running = [
                draft
                for draft in running
                if len(draft.guesses) < min(draft.wish.most, most) and draft.guesses[-1] not in ends
            ]
        for draft in drafts:
            self._keep_due(draft)

    def _run_round(self, running: Sequence[_Draft], round_: int) -> list[int]:
        """Compute what the next guess of each follows from; returns the rows of the batch that tell it."""
        at, rows = 0, []
        for draft in running:
            line, due = draft.line, draft.wish.due
            if not round_:
                tokens, states, position = [*line.tokens, due], line.list_states(), line.fed
            elif self._count > 1:
                # Each head has keys and values of its own, and has seen none of these tokens.
                tokens, states, position = [due, *draft.guesses], draft.states, line.fed
                self._cut(draft.wish.sequence, position)
            else:
                tokens, states, position = draft.guesses[-1:], draft.states[-1:], line.fed + round_
            at = self._fill(at, draft.wish.sequence, tokens, np.concatenate(states), position, outputs=1)
            rows.append(at - 1)
        self._decode(at, round_ if self._count > 1 else 0)
        return rows

    def _take(self, draft: _Draft, row: int) -> None:
        """Take the likeliest token as a guess, and the state that its successor follows from."""
        logits = _view_rows(native.llama_get_logits_ith(self._context, row), 1, self._size)
        draft.guesses.append(int(logits.argmax()))
        state = _view_rows(extension.llama_get_embeddings_nextn_ith(self._context, row), 1, self._width)
        draft.states.append(state.copy())

    def _keep_due(self, draft: _Draft) -> None:
        """Take back what was computed from guesses. The due token stays, which no guess went into; of several heads
        only the first has computed it."""
        line = draft.line
        if self._count > 1:
            self._cut(draft.wish.sequence, line.fed)
        else:
            self._cut(draft.wish.sequence, line.fed + 1)
            line.due = draft.wish.due

    def _fill(
        self, at: int, sequence: SequenceId, tokens: Sequence[int], states: Rows, position: int, *, outputs: int
    ) -> int:
        end = self._batch.fill(at, tokens, position, sequence, outputs)
        self._states[at:end] = states[: len(tokens)]
        return end

    def _decode(self, count: int, head: int) -> None:
        if self._count > 1:
            extension.llama_set_nextn_layer_offset(self._context, head)
        self._batch.native.n_tokens = count
        result = native.llama_decode(self._context, self._batch.native)
        if result == NO_SLOT:
            raise NoSlot(f"llama.cpp found no room for {count} tokens in the KV cache of the model's own heads.")
        if result != 0:
            raise EngineFailed(f"llama.cpp could not compute {count} tokens in the model's own heads (code {result}).")

    def _cut(self, sequence: SequenceId, length: int) -> None:
        native.llama_memory_seq_rm(self._memory, sequence, length, -1)


def _view_rows(pointer: ctypes._Pointer[ctypes.c_float], count: int, width: int) -> Rows:
    """Raises EngineFailed where llama.cpp has none."""
    if not pointer:
        raise EngineFailed("llama.cpp computed nothing that the model's own heads could guess from.")
    return np.ctypeslib.as_array(pointer, (count, width))


def make_heads(
    model: native.llama_model_p,
    context: native.llama_context_p,
    spec: ModelSpec,
    parameters: native.llama_context_params,
) -> MtpHeads | None:
    """The heads of a model that was loaded with them, with a context like its own, made with `parameters`; None where
    llama.cpp makes none, and its log says why. The `parameters` are spoilt."""
    parameters.ctx_type = native.LLAMA_CONTEXT_TYPE_MTP
    parameters.ctx_other = context
    parameters.n_outputs_max = spec.sequences
    parameters.n_rs_seq = 0
    made: native.llama_context_p | None = native.llama_init_from_model(model, parameters)
    return None if made is None else MtpHeads(made, model, spec)
