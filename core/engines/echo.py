"""The echo engine: a deterministic model without weights, one token a byte, that says what its script says.

The last resort where nothing else runs, and the model by which every test of the wire knows each token.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import msgspec
from msgspec import Struct

from core.chat.chatml import CHATML
from core.chat.sources import DEFAULT, choose_templates
from core.contract.artifact import SCRIPT, Artifact
from core.contract.engine import Availability, Available
from core.contract.models import ModelSpec
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.step import SequenceId, Step, StepLogprob, TokenText, Work
from core.decoding.verify import verify_draft
from core.errors import EngineError, EngineFailed, Interrupted
from core.requests import Sampling

TURN_BEGIN, TURN_END = 256, 257
SPECIALS = {TURN_BEGIN: "<|im_start|>", TURN_END: "<|im_end|>"}
THOUGHT_END = b"</think>"
ENDING = b'"}],:0'
"""What ends a value of JSON, or begins a short one; what is first is taken first."""
CELL_BYTES = 4
ARTIFACT = Artifact("echo", SCRIPT, Path("echo"), 0)

Script = Callable[[str], str]
"""From what the user said last (or a raw prompt) to the whole reply."""


def repeat_text(said: str) -> str:
    """The default script: say it again."""
    return said


class EchoTokenizer:
    """One token a byte, and two control tokens that mark turns."""

    size = 258
    controls = frozenset(SPECIALS.values())

    def encode(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
        if not special:
            return list(text.encode())
        tokens: list[int] = []
        while text:
            marks = [(text.find(mark), token) for token, mark in SPECIALS.items() if mark in text]
            if not marks:
                return tokens + list(text.encode())
            index, token = min(marks)
            tokens += [*text[:index].encode(), token]
            text = text[index + len(SPECIALS[token]) :]
        return tokens

    def piece(self, token: int) -> bytes:
        return bytes((token,)) if token < 256 else b""

    def is_end(self, token: int) -> bool:
        return token == TURN_END


class _Saved(Struct):
    tokens: list[int]
    prompt: list[int]
    skipped: int = 0


class _Echoed:
    """A sequence: its tokens, the cells they lie in, and where the reply begins."""

    def __init__(self, sampling: Sampling, prompt: list[int]) -> None:
        self.sampling = sampling
        self.prompt = prompt
        self.tokens: list[int] = []
        self.cells: list[int] = []
        self.reply: list[int] | None = None
        self.skipped = 0
        """Tokens of the reply that were passed over, since its thought was ended before."""


class EchoModel:
    """Follows `script`. Keeps cells like a real unified KV cache, and fails where a real one would be full."""

    def __init__(
        self, options: LoadOptions = LoadOptions(), script: Script = repeat_text, template: str = CHATML
    ) -> None:
        context = options.ctx_size or 8192
        slots = options.slots or 32
        self.tokenizer = EchoTokenizer()
        self.spec = ModelSpec(
            architecture="echo",
            parameters=0,
            quantization="none",
            context=context,
            trained_context=context,
            slots=slots,
            sequences=slots * 2 + 1,
            cells=context * slots,
            batch=max(options.step_tokens, slots),
            threads=1,
            weight_bytes=0,
            kv_bytes_per_token=CELL_BYTES,
            template=choose_templates({DEFAULT: template}, options.chat_template, "echo").usual,
            eos=SPECIALS[TURN_END],
            sampling=Sampling(temperature=0.0),
        )
        self._script = script
        self._ids = count()
        self._cell_ids = count()
        self._users: Counter[int] = Counter()
        self._sequences: dict[SequenceId, _Echoed] = {}
        self._interrupted = threading.Event()

    def open(self, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        if len(self._sequences) >= self.spec.sequences:
            raise EngineError(f"All {self.spec.sequences} sequences are open already.")
        sequence = SequenceId(next(self._ids))
        self._sequences[sequence] = _Echoed(sampling, list(history))
        return sequence

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if self._interrupted.is_set():
            raise Interrupted("The step was interrupted.")
        if sum(len(item.tokens) + len(item.draft) for item in work) > self.spec.batch:
            raise EngineFailed(f"A step takes {self.spec.batch} tokens at most.")
        return [self._advance(item) for item in work]

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        source = self._sequences[sequence]
        child = self.open(sampling, history)
        state = self._sequences[child]
        state.tokens = source.tokens[:length]
        state.cells = source.cells[:length]
        self._users.update(state.cells)
        return child

    def trim(self, sequence: SequenceId, length: int) -> None:
        state = self._sequences[sequence]
        self._free(state.cells[length:])
        del state.tokens[length:], state.cells[length:]

    def save(self, sequence: SequenceId) -> bytes:
        state = self._sequences[sequence]
        return msgspec.msgpack.encode(_Saved(state.tokens, state.prompt, state.skipped))

    def restore(self, data: bytes, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        try:
            saved = msgspec.msgpack.decode(data, type=_Saved)
        except msgspec.DecodeError as error:
            raise EngineError(f"The saved state is not the echo engine's: {error}.") from error
        # The same reply goes on, or its whole text is the beginning of another prompt.
        reply = [*self._script(find_last_said(saved.prompt)).encode(), TURN_END]
        begun = list(history[len(saved.prompt) :])
        goes_on = list(history[: len(saved.prompt)]) == saved.prompt and (
            saved.skipped != 0 or reply[: len(begun)] == begun
        )
        sequence = self.open(sampling, saved.prompt if goes_on else history)
        self._append(self._sequences[sequence], saved.tokens)
        self._sequences[sequence].skipped = saved.skipped if goes_on else 0
        return sequence

    def close(self, sequence: SequenceId) -> None:
        self._free(self._sequences.pop(sequence).cells)

    def interrupt(self, on: bool) -> None:
        if on:
            self._interrupted.set()
        else:
            self._interrupted.clear()

    def shutdown(self) -> None:
        self._sequences.clear()

    def _advance(self, work: Work) -> Step:
        state = self._sequences[work.sequence]
        self._append(state, work.tokens)
        if state.reply is not None and len(work.tokens) > 1:
            _skip_thought(state, work.tokens)
        if not work.sample:
            return Step()

        def draw(index: int, mask: bytes | None) -> int:
            self._append(state, work.draft[max(0, index - 1) : index])
            return _allowed(self._next(state), mask)

        drawn = verify_draft(work, draw)
        wanted = state.sampling.logprobs
        return Step(drawn, tuple(_certain(token, wanted) for token in drawn) if wanted is not None else ())

    def _next(self, state: _Echoed) -> int:
        prompt = state.prompt or state.tokens
        if state.reply is None:
            state.prompt = list(prompt)
            state.reply = [*self._script(find_last_said(prompt)).encode(), TURN_END]
        index = len(state.tokens) - len(state.prompt) + state.skipped
        return state.reply[index] if index < len(state.reply) else TURN_END

    def _append(self, state: _Echoed, tokens: Sequence[int]) -> None:
        if len(self._users) + len(tokens) > self.spec.cells:
            raise EngineFailed(f"The KV cache of {self.spec.cells} cells is full.")
        cells = [next(self._cell_ids) for _ in tokens]
        self._users.update(cells)
        state.tokens.extend(tokens)
        state.cells.extend(cells)

    def _free(self, cells: Sequence[int]) -> None:
        for cell in cells:
            self._users[cell] -= 1
            if not self._users[cell]:
                del self._users[cell]


def find_last_said(prompt: Sequence[int]) -> str:
    """The text of the last user turn in a chat prompt; the whole of a prompt without turns."""
    header = b"user\n"
    starts = [index for index, token in enumerate(prompt) if token == TURN_BEGIN]
    for start in reversed(starts):
        turn = prompt[start + 1 :]
        inside = turn[: turn.index(TURN_END)] if TURN_END in turn else []
        text = bytes(token for token in inside if token < 256)
        if text.startswith(header):
            return text[len(header) :].decode("utf-8", "replace")
    return bytes(token for token in prompt if token < 256).decode("utf-8", "replace")


def _skip_thought(state: _Echoed, written: Sequence[int]) -> None:
    """Where the end of a thought was written for it, the reply goes on behind its own."""
    assert state.reply is not None
    text = bytes(token for token in written if token < TURN_BEGIN)
    reply = bytes(token for token in state.reply if token < TURN_BEGIN)
    if THOUGHT_END not in text or THOUGHT_END not in reply:
        return
    answer = reply[reply.index(THOUGHT_END) + len(THOUGHT_END) :]
    at = len(reply) - len(answer.lstrip())
    state.skipped = at - (len(state.tokens) - len(state.prompt))


def _allowed(token: int, mask: bytes | None) -> int:
    """The token where the mask allows it, else one that brings the text towards its end."""
    if mask is None:
        return token
    bits = int.from_bytes(mask, "little")
    choices: tuple[int, ...] = (token, TURN_END, *ENDING, *range(TURN_BEGIN))
    return next(choice for choice in choices if bits >> choice & 1)


def _certain(token: int, wanted: int) -> StepLogprob:
    return StepLogprob(0.0, (TokenText(token, 0.0),)[:wanted])


class EchoEngine:
    """The engine of last resort. Runs everywhere."""

    name = "echo"
    platform = "any"
    formats = (SCRIPT,)
    state_format = "1"
    priority = 1000

    def __init__(self, script: Script = repeat_text, template: str = CHATML) -> None:
        """`template`: as conversations are to be written, with control tokens of ChatML."""
        self._script = script
        self._template = template

    def availability(self) -> Availability:
        return Available("1")

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return EchoModel(options, self._script, self._template)
