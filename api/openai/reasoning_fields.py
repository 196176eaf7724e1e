"""Fields that say how a model is to think before it answers, by the names of OpenAI, llama.cpp, vLLM and others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta

from api.http.settle import Wire
from api.openai import fields
from api.openai.generation_fields import GenerationFields
from core.errors import RequestError
from core.requests import ReasoningWish, Scalar
from core.serving.ready import Traits

Effort = Annotated[str, Meta(max_length=32)]
Budget = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
"""Tokens of thinking; -1 for any number, zero for none."""
EFFORTS: Final = ("reasoning_effort", "reasoning.effort", "think")
SWITCHES: Final = ("enable_thinking", "think", "thinking.type", "reasoning.enabled")
BUDGETS: Final = (
    *("reasoning_budget", "thinking_budget", "reasoning_budget_tokens", "thinking_budget_tokens"),
    *("thinking_token_budget", "thinking.budget_tokens", "reasoning.max_tokens"),
)
"""Names of one wish; the first that is given counts."""


class ReasoningBox(Wire, frozen=True):
    """OpenRouter's."""

    rules = fields.REASONING

    effort: Effort | None = None
    max_tokens: Budget | None = None
    enabled: bool | None = None
    exclude: bool | None = None
    """Think, and do not tell it."""


class ThinkingBox(Wire, frozen=True):
    """Anthropic's, which makers of models have taken over."""

    rules = fields.THINKING

    type: Literal["enabled", "disabled", "auto", "adaptive"] | None = None
    budget_tokens: Budget | None = None


class ReasoningFields(GenerationFields, frozen=True, kw_only=True):
    """Beside what all requests for text have."""

    reasoning_effort: Effort | None = None
    enable_thinking: bool | None = None
    think: bool | Effort | None = None
    """The same by Ollama's name; or a word for the effort."""
    reasoning: ReasoningBox | None = None
    thinking: ThinkingBox | None = None
    reasoning_budget: Budget | None = None
    thinking_budget: Budget | None = None
    reasoning_budget_tokens: Budget | None = None
    thinking_budget_tokens: Budget | None = None
    thinking_token_budget: Budget | None = None
    reasoning_budget_message: Annotated[str, Meta(max_length=4096)] | None = None
    """What the model is made to have thought last where the budget ends its thought."""
    reasoning_format: Literal["none", "auto", "deepseek", "deepseek-legacy"] | None = None
    """llama.cpp's: `none` leaves thoughts in the answer's text; `deepseek-legacy` tells them there too."""
    separate_reasoning: bool | None = None
    """SGLang's name: false leaves thoughts in the answer's text."""
    include_reasoning: bool | None = None
    """Whether thoughts are told."""


def read_reasoning(body: ReasoningFields) -> ReasoningWish:
    """What is wished of thinking. Where two fields differ, the first in the lists above counts."""
    efforts, switches, budgets = _read_efforts(body), _read_switches(body), _read_budgets(body)
    budget = next(iter(budgets.values()), -1)
    return ReasoningWish(
        think=next(iter(switches.values()), None),
        effort=next(iter(efforts.values()), None),
        budget=None if budget < 0 else budget,
        message=body.reasoning_budget_message or "",
        inline=body.reasoning_format == "none" or body.separate_reasoning is False,
    )


def is_reasoning_hidden(body: ReasoningFields) -> bool:
    """Whether thoughts are not to be told."""
    return body.include_reasoning is False or bool(body.reasoning and body.reasoning.exclude)


def check_reasoning(body: ReasoningFields, arguments: dict[str, Scalar]) -> None:
    """Raises RequestError where the arguments of the chat template say something else."""
    for field, variable, value in (
        ("reasoning_effort", "reasoning_effort", body.reasoning_effort),
        ("enable_thinking", "enable_thinking", body.enable_thinking),
    ):
        if value is not None and arguments.get(variable, value) != value:
            raise RequestError(
                f"`{field}` is {value!r}, and the request says {arguments[variable]!r} of the same elsewhere; "
                "send one of them.",
                field,
            )


def list_outdone_reasoning(body: ReasoningFields) -> Iterator[str]:
    """Fields that say something else than one which goes first."""
    for said in (_read_efforts(body), _read_switches(body), _read_budgets(body)):
        first, *others = said.items() or ((None, None),)
        yield from (str(name) for name, value in others if value != first[1])


def list_vain_reasoning(body: ReasoningFields, traits: Traits) -> Iterator[str]:
    """Fields that nothing comes of with a model of these traits."""
    if traits.voice is None:
        return
    outdone = {*list_outdone_reasoning(body)}
    said: dict[str, Iterable[str]] = {
        "effort": _read_efforts(body),
        "think": _read_switches(body),
        "budget": _read_budgets(body),
    }
    for wish in traits.voice.list_ignored(read_reasoning(body)):
        yield from (name for name in said[wish] if name not in outdone)


def _read_efforts(body: ReasoningFields) -> dict[str, str]:
    box = body.reasoning or ReasoningBox()
    said = (body.reasoning_effort, box.effort, body.think if isinstance(body.think, str) else None)
    return {name: value for name, value in zip(EFFORTS, said, strict=True) if value}


def _read_switches(body: ReasoningFields) -> dict[str, bool]:
    kind = body.thinking.type if body.thinking is not None else None
    said = (
        body.enable_thinking,
        body.think if isinstance(body.think, bool) else None,
        kind != "disabled" if kind in ("enabled", "disabled") else None,
        body.reasoning.enabled if body.reasoning is not None else None,
    )
    return {name: value for name, value in zip(SWITCHES, said, strict=True) if value is not None}


def _read_budgets(body: ReasoningFields) -> dict[str, int]:
    said = (
        *(getattr(body, name) for name in BUDGETS[:5]),
        body.thinking.budget_tokens if body.thinking is not None else None,
        body.reasoning.max_tokens if body.reasoning is not None else None,
    )
    return {name: value for name, value in zip(BUDGETS, said, strict=True) if value is not None and value >= 0}
