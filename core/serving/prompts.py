"""From what a request says to the tokens that its model reads.

A long text holds up neither short ones nor the event loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from core.cache.recall import Outline, outline_request
from core.chat.answer import AnswerPlan, plan_answer
from core.chat.counters import drop_counters
from core.chat.infill import encode_gap
from core.chat.parsers.family import ChatFamily, ThinkingPhase
from core.chat.parsers.response_schema import ResponseSchema
from core.chat.process import ORDER_SECONDS
from core.chat.template import Rendering
from core.chat.voice import ChatVoice
from core.contract.models import ModelSpec, Tokenizer
from core.decoding.masks.call_mask import AwaitedCalls, CallMask, build_openings
from core.decoding.masks.compiler import MaskCompiler
from core.decoding.masks.thinking import find_thinking
from core.decoding.masks.token_mask import AnswerMask
from core.decoding.masks.tools import MOST_FREE_TOOLS, find_call_tokens, plan_mask
from core.decoding.masks.trials import FormTrials
from core.errors import Busy, ContextExceeded, EngineError, ModelNotReady, Overloaded, RequestError, TemplateFailed
from core.lanes import WorkLanes
from core.priority import give_way
from core.requests import (
    Conversation,
    Generation,
    Infill,
    RawText,
    RawTokens,
    ReasoningWish,
    Scalar,
    Tool,
    name_prompt_field,
)
from core.serving.thoughts import ThoughtEnding, choose_thought_budget
from core.settings.prompts import PromptSettings
from core.settings.schema import AnswerSettings
from core.tasks.bounds import SHORT_BYTES, PromptTooLarge, bound_bytes, count_prompt_bytes, count_text_bytes
from core.telemetry.log import get_logger

TEMPLATE_SECONDS = 3 * ORDER_SECONDS
"""How long a conversation may wait for its turn with the model's chat template."""
LONG_TEMPLATE_SECONDS = 4 * TEMPLATE_SECONDS
"""The same of a long one, which waits for long ones."""
SAMPLE_CHARACTERS = 8
"""Of a text that is very long, for each token of the context: the part that is tokenised first."""
SAMPLE_PARTS = 4
"""Parts of that length in a text that is very long."""
MANY_PARTS = 2000
"""Messages and tools of a conversation whose bytes are not counted on the event loop."""
log = get_logger(__name__)


class ReadPrompt(Struct, frozen=True):
    """A prompt as its model's loop takes it."""

    tokens: list[int]
    outline: Outline
    notes: tuple[str, ...]
    """Sentences about how it came to be."""
    mask: AnswerMask | None
    """What holds the answer to its constraint, and its calls of tools to their form, where there is something."""
    plan: AnswerPlan | None
    """How the answer is read; None where it is all words."""
    shown: Mapping[int, bytes]
    """Control tokens that stand in its text for that, with their letters."""
    ending: ThoughtEnding | None
    """How its thoughts can be ended; None where there will be none."""
    biases: tuple[tuple[int, float], ...] = ()
    """Of tokens, beside those that the request itself names."""


class PromptReader:
    """Renders and tokenises the prompts of one loaded model. Made on any thread, used on the event loop."""

    def __init__(
        self,
        name: str,
        spec: ModelSpec,
        tokenizer: Tokenizer,
        lanes: WorkLanes,
        trials: FormTrials,
        reasoning: ReasoningWish = ReasoningWish(),
        schema: ResponseSchema | None = None,
        answers: AnswerSettings = AnswerSettings(),
        prompts: PromptSettings = PromptSettings(),
        variables: Mapping[str, Scalar] = MappingProxyType({}),
    ) -> None:
        """Tries the model's chat template out; what it cannot do is in `notes`. `reasoning`: how the model thinks for
        requests that do not say it; `schema`: what its answers are read by in place of its family's way; `variables`:
        those of the chat template that no request sets."""
        self._reasoning = reasoning
        self._answers = answers
        self._prompts = prompts
        self._variables = variables
        self._schema = schema
        self._name = name
        self._spec = spec
        self._masks = MaskCompiler(tokenizer, trials)
        self._context = spec.context
        self._tokenizer = tokenizer
        self._lanes = lanes
        self._voice = self._make_voice(spec.template)
        self._tool_voice: ChatVoice | None = None
        """Made with the first request that needs it, where the model has a template of its own for tools."""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"template {name}")
        """Waits for the chat template. A template that takes long holds up no other model."""
        self._long_writer = ThreadPoolExecutor(1, thread_name_prefix=f"long template {name}", initializer=give_way)
        """Does so for long conversations, which hold up no short ones either."""
        self._closed = False

    @property
    def notes(self) -> tuple[str, ...]:
        return self._voice.encoder.notes

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self._tokenizer.size

    @property
    def context(self) -> int:
        """Tokens that one request may hold."""
        return self._context

    def _make_voice(self, source: str | None) -> ChatVoice:
        voice = ChatVoice(source, self._spec, self._tokenizer, self._name, self._schema, self._variables)
        for note in voice.encoder.notes:
            log.warning("about the chat template", model=self._name, note=note)
        return voice

    def _choose_voice(self, request: Generation) -> ChatVoice:
        """The one that has written the request's prompt, or will."""
        return self._tool_voice if self._tool_voice and _has_tools(request) else self._voice

    @property
    def voice(self) -> ChatVoice:
        """How conversations without tools are written, and what the chat template lets one say."""
        return self._voice

    def close(self) -> None:
        """Fail what is being read. Idempotent, from any thread."""
        self._closed = True
        self._voice.close()
        if self._tool_voice is not None:
            self._tool_voice.close()
        self._writer.shutdown(wait=False)
        self._long_writer.shutdown(wait=False)

    async def read(self, request: Generation, *, exact: bool = False) -> ReadPrompt:
        """The tokens of a prompt, and the mask of its answer. A prompt that is far too long is refused by its start,
        unless its tokens are to be counted, which is `exact`.

        Raises RequestError for what the model cannot take, its template refuses or no mask enforces, TemplateFailed
        where the template fails, Overloaded where it is held up, ModelNotReady after `close`.
        """
        try:
            return await self._read(request, exact)
        except (TemplateFailed, EngineError, RuntimeError) as error:
            if self._closed:
                # Its template's process has ended, or its vocabulary was freed.
                words = f"The model {self._name} is being unloaded or loaded again; ask again in a moment."
                raise ModelNotReady(self._name, words) from error
            raise

    async def write(self, request: Generation) -> str:
        """The prompt's text as the model's chat template writes it. Raises as `read` does."""
        request = replace(request, reasoning=request.reasoning.over(self._reasoning))
        written = await self._write(request, await self._count_bytes(request))
        return self._choose_voice(request).encoder.unmark(written.text)

    async def encode(self, text: str, field: str, *, special: bool, begin: bool) -> list[int]:
        """As `Tokenizer.encode`, of any length. Raises PromptTooLarge, which names `field`, where no context could hold
        it."""
        most = bound_bytes(self._context)
        if (size := count_text_bytes(text)) > most:
            raise PromptTooLarge(size, most, self._context, field)
        lane = self._lanes.reading if size <= SHORT_BYTES else self._lanes.long_reading
        return await lane.run(self._tokenizer.encode, text, special=special, begin=begin)

    async def decode(self, tokens: Sequence[int], field: str = "tokens") -> list[bytes]:
        """The bytes of each token, control tokens by the way they are written. Raises RequestError, which names
        `field`, for what is no token of the model."""
        self._check_tokens(tokens, field)
        lane = self._lanes.reading if len(tokens) <= SHORT_BYTES else self._lanes.long_reading
        return await lane.run(self._decode, tokens)

    def _decode(self, tokens: Sequence[int]) -> list[bytes]:
        controls = self._controls_by_id
        return [self._tokenizer.piece(token) or controls.get(token, b"") for token in tokens]

    @cached_property
    def _controls_by_id(self) -> dict[int, bytes]:
        read = ((self._tokenizer.encode(text, special=True), text) for text in self._tokenizer.controls)
        return {tokens[0]: text.encode() for tokens, text in read if len(tokens) == 1}

    def _check_tokens(self, tokens: Sequence[int], field: str) -> None:
        if any(not 0 <= token < self.vocabulary for token in tokens):
            raise RequestError(f"Token ids must be between 0 and {self.vocabulary - 1}.", field)

    async def _read(self, request: Generation, exact: bool) -> ReadPrompt:
        most = bound_bytes(self._context)
        field = name_prompt_field(request.prompt)
        size = await self._count_bytes(request)
        if size > most:
            raise PromptTooLarge(size, most, self._context, field)
        written = await self._write(request, size)
        if (size := max(size, count_text_bytes(written.text))) > most:
            raise PromptTooLarge(size, most, self._context, field)
        lane = self._lanes.reading if size <= SHORT_BYTES else self._lanes.long_reading
        tokens, outline = await lane.run(self._digest_text, request, written.text, exact)
        voice = self._choose_voice(request)
        phase = voice.show_phase(written)
        plan = plan_answer(voice.family, request, phase)
        shown = voice.shown if plan is not None else {}
        mask = await self._compile(request, voice, phase)
        budget = choose_thought_budget(request, self._context - len(tokens), self._answers.form_reasoning_budget)
        ending = self._find_ending(request, voice, phase, budget)
        banned = find_call_tokens(voice.family, request, self._tokenizer)
        biases = (*await self._find_biases(request), *((token, -math.inf) for token in banned))
        notes = written.notes
        if ending is not None and budget != request.reasoning.budget:
            notes = (*notes, f"The answer is held to a form, so a thought before it may have {budget:,} tokens.")
        return ReadPrompt(tokens, outline, notes, mask, plan, shown, ending, biases)

    async def _count_bytes(self, request: Generation) -> int:
        conversation = request.prompt
        if isinstance(conversation, Conversation) and _count_parts(conversation) > MANY_PARTS:
            return await self._lanes.long_reading.run(count_prompt_bytes, request)
        return count_prompt_bytes(request)

    async def _find_biases(self, request: Generation) -> Sequence[tuple[int, float]]:
        """Those of the tokens of texts."""

        def find() -> list[tuple[int, float]]:
            each = ((self._tokenizer.encode(text, special=True), bias) for text, bias in request.biased_texts)
            return [(token, bias) for tokens, bias in each for token in tokens]

        return await self._lanes.reading.run(find) if request.biased_texts else ()

    def _find_ending(
        self, request: Generation, voice: ChatVoice, phase: str, budget: int | None
    ) -> ThoughtEnding | None:
        conversation = request.prompt
        if not isinstance(conversation, Conversation) or voice.family is None or voice.family.thought is None:
            return None
        ending = voice.write_ending(request.reasoning, phase, tools=bool(conversation.tools))
        if ending is None:
            return None
        words, close = ending
        written = self._tokenizer.encode(words, special=False) if words else []
        marks = voice.family.thought
        return ThoughtEnding(
            marks.begin.encode(),
            marks.end.encode(),
            voice.family.find_phase(phase) is ThinkingPhase.INSIDE,
            (*written, *self._tokenizer.encode(close, special=True)),
            budget,
            voice.shown,
        )

    async def _compile(self, request: Generation, voice: ChatVoice, phase: str) -> AnswerMask | None:
        conversation = request.prompt
        # Only behind its own template does a model know that it is to think, and of tools.
        family = voice.family if isinstance(conversation, Conversation) else None
        if isinstance(conversation, Conversation) and len(conversation.tools) > MOST_FREE_TOOLS:
            plan = await self._lanes.compiling.run(plan_mask, family, request, self._name)
        else:
            plan = plan_mask(family, request, self._name)
        if plan is None:
            return None
        thinking = None if plan.awaits else find_thinking(family, phase)
        # What is known already waits for nothing that is new.
        mask = self._masks.find(plan.constraint, thinking)
        try:
            if mask is None:
                mask = await self._lanes.compiling.run(self._masks.compile, plan.constraint, thinking)
        except (RequestError, Overloaded, Busy) as error:
            if plan.firm:
                raise
            log.debug("calls of tools are not held to their form", model=self._name, why=str(error))
            return None
        if not plan.awaits or family is None:
            return mask
        return CallMask(mask, self._await_calls(voice, family, phase, request.callable_tools))

    def _await_calls(self, voice: ChatVoice, family: ChatFamily, phase: str, tools: Sequence[Tool]) -> AwaitedCalls:
        """How calls show behind a prompt."""
        thought = family.thought
        openings = family.calls.openings if family.calls is not None else ()
        return AwaitedCalls(
            begins=tuple(begin.encode() for begin in family.calls.begins) if family.calls is not None else (),
            thought=(thought.begin.encode(), thought.end.encode()) if thought is not None else None,
            thinking=family.find_phase(phase) is ThinkingPhase.INSIDE,
            show=lambda token: voice.shown.get(token) or self._tokenizer.piece(token),
            encode=lambda text: self._tokenizer.encode(text, special=True) if text else (),
            openings=build_openings(openings, tools),
        )

    async def _write(self, request: Generation, size: int) -> Rendering:
        """A conversation of so many bytes as the model's template writes it, and a raw text as it stands; empty for
        tokens."""
        match request.prompt:
            case Conversation() as conversation:
                if self._spec.tool_template and self._tool_voice is None and _has_tools(request):
                    await asyncio.wrap_future(self._writer.submit(self._open_tool_voice, self._spec.tool_template))
                writer, seconds = self._writer, TEMPLATE_SECONDS
                if size > SHORT_BYTES:
                    writer, seconds = self._long_writer, LONG_TEMPLATE_SECONDS
                until = time.monotonic() + seconds
                return await asyncio.wrap_future(writer.submit(self._write_in_turn, request, conversation, until))
            case RawText(text=text):
                return Rendering(text)
            case RawTokens() | Infill():
                return Rendering("")

    def _open_tool_voice(self, template: str) -> None:
        """On the writer's thread, where others may have waited for the same."""
        if self._tool_voice is None:
            self._tool_voice = self._make_voice(template)
            if self._closed:
                self._tool_voice.close()

    def _write_in_turn(self, request: Generation, conversation: Conversation, until: float) -> Rendering:
        """On a writer's thread. A template that takes too long for one conversation must not do so for each of those
        that wait behind it."""
        if time.monotonic() > until:
            raise Overloaded(f"The chat template of {self._name} is held up by other conversations; ask again later.")
        if self._prompts.drop_counters:
            conversation, _ = drop_counters(conversation)
        return self._choose_voice(request).write(conversation, request.reasoning)

    def _digest_text(self, request: Generation, text: str, exact: bool) -> tuple[list[int], Outline]:
        return self._tokenise(request, text, exact), outline_request(request, self._spec.template)

    def _tokenise(self, request: Generation, text: str, exact: bool) -> list[int]:
        """The prompt's tokens. `text` is what `_write` made of it."""
        part = SAMPLE_CHARACTERS * self._context
        if not exact and len(text) > SAMPLE_PARTS * part:
            # Millions of tokens would take seconds, and be of no use.
            count = len(self._tokenise_text(request, text[:part]))
            if count > 2 * self._context:
                told = count * len(text) // part
                raise ContextExceeded(told, self._context, name_prompt_field(request.prompt), estimated=True)
        match request.prompt:
            case Conversation() | RawText():
                tokens = self._tokenise_text(request, text)
            case Infill() as gap:
                tokens = encode_gap(self._tokenizer, gap, self._name)
            case RawTokens(tokens=given):
                tokens = list(given)
                self._check_tokens(tokens, "prompt")
        if not tokens:
            raise RequestError("The prompt is empty.", name_prompt_field(request.prompt))
        if len(tokens) >= self._context:
            raise ContextExceeded(len(tokens), self._context, name_prompt_field(request.prompt))
        return tokens

    def _tokenise_text(self, request: Generation, text: str) -> list[int]:
        if isinstance(request.prompt, Conversation):
            return self._choose_voice(request).encoder.tokenise(text)
        return self._tokenizer.encode(text, special=True, begin=True)


def _count_parts(conversation: Conversation) -> int:
    return len(conversation.messages) + len(conversation.tools)


def _has_tools(request: Generation) -> bool:
    return isinstance(request.prompt, Conversation) and bool(request.prompt.tools)
