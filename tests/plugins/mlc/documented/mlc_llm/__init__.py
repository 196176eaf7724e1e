"""Stands in for mlc_llm, which no registry here offers: the signatures of MLCEngine and the fields of its chunks are
those of its documentation and of mlc_llm/protocol/openai_api_protocol.py. What it answers is `SCRIPT`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlc_llm.serve.config import EngineConfig

SCRIPT = ["Hel", "lo ", "the", "re, ", "you"]


@dataclass
class Message:
    content: str | None = None
    role: str = "assistant"


@dataclass
class TopLogProbs:
    token: str
    logprob: float
    bytes: list[int] | None


@dataclass
class LogProbsContent:
    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogProbs] = field(default_factory=list)


@dataclass
class LogProbs:
    content: list[LogProbsContent]


@dataclass
class ChatChoice:
    index: int
    delta: Message
    finish_reason: str | None = None
    logprobs: LogProbs | None = None


@dataclass
class CompletionChoice:
    index: int
    text: str
    finish_reason: str | None = None
    logprobs: None = None


@dataclass
class Usage:
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    extra: dict[str, Any] | None = None


@dataclass
class Response:
    id: str
    choices: list[Any]
    usage: Usage | None = None


class BadRequestError(ValueError):
    """As in mlc_llm.protocol.error_protocol."""


class MLCEngine:
    def __init__(
        self,
        model: str,
        device: str = "auto",
        *,
        model_lib: str | None = None,
        mode: str = "local",
        engine_config: EngineConfig | None = None,
        enable_tracing: bool = False,
    ) -> None:
        if (Path(model) / "unfit").exists():
            raise RuntimeError("Traceback of the compiler\nCannot find a compiler for this device.")
        self.model, self.mode, self.engine_config = model, mode, engine_config
        self.calls: list[dict[str, Any]] = []
        self.events: list[str] = []
        self.ending = "stop"
        self.chat = _Chat(self)
        self.completions = _Completions(self)

    def abort(self, request_id: str) -> None:
        self.events.append("abort")

    def reset(self) -> None:
        self.events.append("reset")

    def terminate(self) -> None:
        self.events.append("terminate")

    def answer(self, made: dict[str, Any], n: int, max_tokens: int | None) -> Iterator[Response]:
        """Lazily, like the real one: nothing is checked or begun before the first chunk is asked for."""
        self.calls.append(made)
        messages = made.get("messages") or []
        if any(message["role"] == "system" for message in messages[1:]):
            raise BadRequestError("System prompt at position 1 in the message list is invalid.")
        pieces = SCRIPT[: max_tokens or len(SCRIPT)]
        reason = self.ending if len(pieces) == len(SCRIPT) else "length"
        try:
            for number, piece in enumerate(pieces):
                if self.ending == "fault" and number == 2:
                    raise RuntimeError("the device is lost")
                over = reason if number == len(pieces) - 1 else None
                choices = [self._choice(made, index, piece, over) for index in range(n)]
                yield Response(made["request_id"], choices)
        except GeneratorExit:
            self.abort(made["request_id"])
            raise
        yield Response(made["request_id"], [], Usage(12, n * len(pieces), 12 + n * len(pieces)))

    def _choice(self, made: dict[str, Any], index: int, piece: str, over: str | None) -> ChatChoice | CompletionChoice:
        if "messages" not in made:
            return CompletionChoice(index, piece, over)
        logprobs = None
        if made["logprobs"]:
            top = [TopLogProbs("x", -2.5, None)] * made["top_logprobs"]
            logprobs = LogProbs([LogProbsContent(piece, -0.5, list(piece.encode()), top)])
        return ChatChoice(index, Message(piece), over, logprobs)


class _Chat:
    def __init__(self, engine: MLCEngine) -> None:
        self.completions = _ChatCompletions(engine)


class _ChatCompletions:
    def __init__(self, engine: MLCEngine) -> None:
        self._engine = engine

    def create(
        self,
        *,
        messages: list[dict[str, Any]],
        stream: bool = False,
        model: str | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
        logit_bias: dict[int, float] | None = None,
        max_tokens: int | None = None,
        n: int = 1,
        seed: int | None = None,
        stop: str | list[str] | None = None,
        stream_options: dict[str, Any] | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        tools: list[dict[str, Any]] | None = None,
        tool_choice: str | None = None,
        user: str | None = None,
        response_format: dict[str, Any] | None = None,
        request_id: str | None = None,
        extra_body: dict[str, Any] | None = None,
    ) -> Iterator[Response]:
        assert stream
        made = {name: value for name, value in locals().items() if name != "self"}
        return self._engine.answer(made, n, max_tokens)


class _Completions:
    def __init__(self, engine: MLCEngine) -> None:
        self._engine = engine

    def create(
        self,
        *,
        prompt: str | list[int],
        stream: bool = False,
        model: str | None = None,
        best_of: int = 1,
        echo: bool = False,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        logprobs: int | None = None,
        logit_bias: dict[int, float] | None = None,
        max_tokens: int | None = None,
        n: int = 1,
        seed: int | None = None,
        stop: str | list[str] | None = None,
        stream_options: dict[str, Any] | None = None,
        suffix: str | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        user: str | None = None,
        response_format: dict[str, Any] | None = None,
        request_id: str | None = None,
        extra_body: dict[str, Any] | None = None,
    ) -> Iterator[Response]:
        assert stream
        made = {name: value for name, value in locals().items() if name != "self"}
        return self._engine.answer(made, n, max_tokens)
