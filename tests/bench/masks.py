"""What constrained output costs and whether it keeps its promise, on real weights.

The cost: two sequences compute the same tokens in turns, one of them under a mask. The promise: schemas of many kinds,
at a temperature at which a model writes nonsense, every answer that came to its end validated.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import jsonschema
from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.contract.step import Work
from core.decoding.masks.compiler import MaskCompiler
from core.decoding.masks.trials import FormTrials
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import RequestError
from core.events import FinishReason
from core.requests import (
    AnswerForm,
    Constraint,
    Conversation,
    Generation,
    JsonObject,
    JsonSchema,
    Message,
    RegexPattern,
    Role,
    Sampling,
    SamplingWish,
    TextPart,
)
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from tests.bench.report import table
from tests.fakes.schemas import SchemaMaker

TOOL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"enum": ["get_weather", "search"]},
        "arguments": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 1, "description": "Where."},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
                "units": {"enum": ["celsius", "fahrenheit"]},
                "details": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
            },
            "required": ["city", "days", "units"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "arguments"],
    "additionalProperties": False,
}
"""What calling one of two tools looks like."""
PROSE: dict[str, Any] = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "text": {"type": "string", "maxLength": 2000}},
    "required": ["title", "text"],
}
FORMS: Sequence[tuple[str, AnswerForm]] = (
    ("any JSON object", JsonObject()),
    ("a tool's call", JsonSchema(json.dumps(TOOL))),
    ("prose in JSON", JsonSchema(json.dumps(PROSE))),
    ("a pattern", RegexPattern("([A-Z][a-z]+ ){3,40}[.]")),
)
ASKED = "<|im_start|>user\nDescribe the weather in Paris in JSON.<|im_end|>\n<|im_start|>assistant\n"
STREAMS = 8
CONTEXT = 1024
HOT = 1.5


class MaskedTimes(Struct, frozen=True):
    """Seconds a token, each from one step."""

    plain: list[float]
    masked: list[float]
    masks: list[float]
    """Of `masked`, what making the mask and taking the token took."""


def run(path: Path, threads: int, tokens: int, schemas: int) -> Iterator[str]:
    """The tables, in Markdown. `tokens` are drawn for each form, `schemas` are tried."""
    trials = FormTrials()
    try:
        model = _load(path, threads)
        yield _first_masks(model, trials)
        yield _costs(path, model, trials, tokens)
        model.shutdown()
        yield asyncio.run(_promise(path, threads, schemas, trials))
    finally:
        trials.close()


def _load(path: Path, threads: int) -> TokenModel:
    artifact = Artifact(path.name, "gguf", path, path.stat().st_size)
    options = LoadOptions(ctx_size=CONTEXT, slots=STREAMS, threads=threads, batch_threads=threads, extra_buffers=False)
    model = LlamaCppEngine().load(artifact, options)
    assert isinstance(model, TokenModel)
    return model


def _first_masks(model: TokenModel, trials: FormTrials) -> str:
    """From a form to its first mask, once the vocabulary is read, which is done once a model."""
    trials.write_grammar(RegexPattern("warm"))
    compiler = MaskCompiler(model.tokenizer, trials)
    began = time.perf_counter()
    compiler.compile(Constraint(RegexPattern("warm")))
    rows: list[tuple[object, ...]] = [("the vocabulary, once a model", 1e3 * (time.perf_counter() - began), "")]
    for name, form in FORMS:
        began = time.perf_counter()
        compiler.compile(Constraint(form)).follow(())
        first = time.perf_counter() - began
        began = time.perf_counter()
        compiler.compile(Constraint(form)).follow(())
        rows.append((name, 1e3 * first, 1e3 * (time.perf_counter() - began)))
    return table(f"First mask, {model.tokenizer.size:,} tokens", ("form", "new, ms", "known, ms"), rows)


def _costs(path: Path, model: TokenModel, trials: FormTrials, tokens: int) -> str:
    compiler = MaskCompiler(model.tokenizer, trials)
    rows: list[tuple[object, ...]] = []
    for name, form in FORMS:
        times = _timed(model, compiler, form, tokens)
        plain, masked = 1e3 * median(times.plain), 1e3 * median(times.masked)
        mean = 1e3 * sum(times.masks) / len(times.masks)
        differences = [1e3 * (a - b) for a, b in zip(times.masked, times.plain, strict=True)]
        share = f"{median(differences) / plain:.1%}"
        rows.append((name, len(times.plain), plain, masked, mean, 1e3 * max(times.masks), share))
    columns = ("form", "tokens", "plain step, ms", "masked step, ms", "mask, mean ms", "mask, max ms", "of decode")
    return table(f"Cost of masks, {path.name}, {model.spec.threads} thread(s)", columns, rows)


def _timed(model: TokenModel, compiler: MaskCompiler, form: AnswerForm, tokens: int) -> MaskedTimes:
    prompt = model.tokenizer.encode(ASKED, special=True)
    sampling = Sampling(temperature=HOT, seed=1)
    masked, plain = model.open(sampling, prompt), model.open(sampling, prompt)
    for sequence in (masked, plain):
        model.step([Work(sequence, prompt[:-1], sample=False)])
    mask = compiler.compile(Constraint(form))
    times = MaskedTimes([], [], [])
    last = prompt[-1]
    while len(times.plain) < tokens:
        began = time.perf_counter()
        _, masks = mask.follow(())
        made = time.perf_counter() - began
        (step,) = model.step([Work(masked, [last], sample=True, masks=masks)])
        computed = time.perf_counter()
        ended = model.tokenizer.is_end(step.tokens[0])
        if not ended:
            mask.take(step.tokens[0])
        times.masks.append(made + time.perf_counter() - computed)
        times.masked.append(time.perf_counter() - began)
        began = time.perf_counter()
        model.step([Work(plain, [last], sample=True)])
        times.plain.append(time.perf_counter() - began)
        last = step.tokens[0]
        if ended or mask.complete:
            mask = compiler.compile(Constraint(form))
    for sequence in (masked, plain):
        model.close(sequence)
    return times


async def _promise(path: Path, threads: int, schemas: int, trials: FormTrials) -> str:
    outcomes: Counter[str] = Counter()
    async with _hosted(path, threads, trials) as host:
        seeds = iter(range(schemas))

        async def work() -> None:
            for seed in seeds:
                outcomes[await _outcome(host, seed)] += 1

        await asyncio.gather(*(work() for _ in range(STREAMS)))
    rows = [(name, outcomes[name]) for name in ("valid", "cut by the limit", "refused", "invalid")]
    return table(f"{schemas} random schemas at temperature {HOT}, {path.name}", ("outcome", "answers"), rows)


async def _outcome(host: Host, seed: int) -> str:
    schema = SchemaMaker(seed).make()
    words = f"Answer with JSON of this schema: {json.dumps(schema)[:400]}"
    request = Generation(
        model="m",
        prompt=Conversation((Message(Role.USER, (TextPart(words),)),)),
        sampling=SamplingWish(temperature=HOT, top_k=0, top_p=1.0, min_p=0.0, seed=seed),
        max_tokens=256,
        constraint=Constraint(JsonSchema(json.dumps(schema)), "schema"),
    )
    try:
        (choice,) = (await (await host.submit(request)).reply()).choices
    except RequestError:
        return "refused"
    if choice.reason is not FinishReason.STOP:
        return "cut by the limit"
    try:
        jsonschema.Draft202012Validator(schema).validate(json.loads(choice.text))
    except (ValueError, jsonschema.ValidationError) as error:
        print(f"seed {seed}: {choice.text[:200]!r}: {error}")
        return "invalid"
    return "valid"


@asynccontextmanager
async def _hosted(path: Path, threads: int, trials: FormTrials) -> AsyncIterator[Host]:
    model = _load(path, threads)
    host = Host(
        "m", lambda *_: LoadedModel(model, "llamacpp"), max_queue=0, queue_timeout=60.0, slots=STREAMS, trials=trials
    )
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()
