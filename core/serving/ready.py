"""A model that is loaded, as requests find it: what it is like, and the jobs that it makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import assert_never, cast

from msgspec import Struct
from msgspec.structs import replace

from core.chat.answer import AnswerPlan, plan_answer
from core.chat.counters import drop_counters
from core.chat.parsers.registry import choose_family
from core.chat.parsers.response_schema import apply_schema
from core.chat.voice import ChatVoice
from core.contract.models import Embedder, Model, ModelSpec, Reranker, TokenModel
from core.decoding.masks.trials import FormTrials
from core.errors import RequestError
from core.lanes import WorkLanes
from core.requests import (
    Constraint,
    Conversation,
    Embedding,
    Generation,
    JsonObject,
    ReasoningWish,
    Reranking,
    ResolvedGeneration,
    Sampling,
    Scalar,
    Transcription,
)
from core.serving.ability import Request, find_ability, find_kind, require_able
from core.serving.job import LoopJob
from core.serving.loaded import LoadedModel
from core.serving.loops.encoding import EmbedJob, RankJob
from core.serving.loops.relay import Relayed
from core.serving.prompts import PromptReader
from core.serving.sequence import RequestJob
from core.serving.texts import read_inputs, read_pairs
from core.settings.profile import SamplingDefaults
from core.settings.prompts import PromptSettings
from core.settings.schema import AnswerSettings
from core.snapshots import ModelKind


class Traits(Struct, frozen=True):
    """What decides which fields of a request can have an effect with a model."""

    template: str | None
    """The source of its chat template; None where it has none, and where a server elsewhere renders prompts."""
    stepwise: bool
    """Whether this workbench computes its prompts and draws its tokens."""
    vocabulary: int | None
    """Number of token ids; None where that is not known here."""
    sampling: Sampling = Sampling()
    """How tokens are drawn for requests that do not say it."""
    voice: ChatVoice | None = None
    """What its chat template lets one say; None where prompts are rendered elsewhere."""


class RequestDefaults(Struct, frozen=True):
    """What holds for requests that do not say it."""

    sampling: SamplingDefaults = SamplingDefaults()
    """Goes before what the model's makers recommend."""
    answers: AnswerSettings = AnswerSettings()
    reasoning: ReasoningWish = ReasoningWish()
    reuse: bool = True
    """Whether they may begin with prefixes that were computed before; where not, none does."""
    prompts: PromptSettings = PromptSettings()
    variables: Mapping[str, Scalar] = MappingProxyType({})
    """Of the chat template."""


class ReadyJob(Struct, frozen=True):
    """A request as its loop takes it."""

    job: LoopJob
    prompt_tokens: int = 0
    """Zero where that is not known here."""
    plan: AnswerPlan | None = None
    """How its answer is read; None where it is all words."""


class ReadyModel:
    """Made on any thread, which tries the chat template out; used on the event loop."""

    def __init__(
        self, name: str, loaded: LoadedModel, defaults: RequestDefaults, lanes: WorkLanes, trials: FormTrials
    ) -> None:
        """`name` is what the model is served by; `lanes`: where prompts are read; `trials`: where constraints are
        tried."""
        self._name = name
        self.loaded = loaded
        self._defaults = defaults
        self._lanes = lanes
        self.reader: PromptReader | None = None
        """None for a model that renders and tokenises its prompts by itself."""
        model = loaded.model
        self.kind = find_kind(model)
        """What it does."""
        if isinstance(model, TokenModel):
            self.reader = PromptReader(
                name,
                model.spec,
                model.tokenizer,
                lanes,
                trials,
                defaults.reasoning,
                loaded.schema,
                defaults.answers,
                defaults.prompts,
                defaults.variables,
            )

    @property
    def model(self) -> Model:
        return self.loaded.model

    @property
    def spec(self) -> ModelSpec:
        return self.loaded.model.spec

    @property
    def engine(self) -> str:
        return self.loaded.engine

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it, in sentences."""
        read = self.reader.notes if self.reader is not None else tuple(self._list_unheld())
        return (*self.loaded.notes, *read, *self.spec.notes)

    @property
    def traits(self) -> Traits:
        reader = self.reader
        vocabulary = reader.vocabulary if reader is not None else None
        voice = reader.voice if reader is not None else None
        return Traits(self.spec.template, reader is not None, vocabulary, self._sampling, voice)

    @property
    def vocabulary(self) -> int:
        """Number of token ids. Raises RequestError where it is not known."""
        if self.kind is not ModelKind.CHAT:
            raise RequestError(
                f"The model {self._name} {find_ability(self.kind).does} and decodes no tokens; measure it with "
                "`tui bench`.",
                "model",
            )
        if self.reader is None:
            raise RequestError(
                f"The model {self._name} cannot be measured: the engine {self.engine} does not tell its vocabulary.",
                "model",
            )
        return self.reader.vocabulary

    def require_reader(self) -> PromptReader:
        """What reads and counts its prompts. Raises RequestError where its engine does that by itself."""
        if self.reader is None:
            raise RequestError(
                f"The engine {self.engine} cannot count the tokens of a prompt; the usage of an answer tells them.",
                "model",
            )
        return self.reader

    async def make_job(self, request: Request) -> ReadyJob:
        """Read a request. Raises RequestError for what the model cannot take, and as `PromptReader.read`."""
        model = self.model
        require_able(self.kind, self._name, request)
        match request:
            case Transcription():
                return ReadyJob(Relayed(request))
            case Embedding():
                inputs = await read_inputs(cast(Embedder, model), request, self._lanes)
                embedding = EmbedJob(request, inputs)
                return ReadyJob(embedding, embedding.tokens)
            case Reranking():
                reranker = cast(Reranker, model)
                pairs = await read_pairs(reranker, request, self._lanes)
                ranking = RankJob(request, pairs, bounded=reranker.bounded)
                return ReadyJob(ranking, ranking.tokens)
            case Generation():
                return await self._make_generation(self._resolved(request))
            case _:
                assert_never(request)

    def close(self) -> None:
        """Fail what is being read. Idempotent, from any thread."""
        if self.reader is not None:
            self.reader.close()

    async def _make_generation(self, resolved: ResolvedGeneration) -> ReadyJob:
        self._refuse_irreproducible(resolved)
        left_out: tuple[str, ...] = ()
        if self._defaults.prompts.drop_counters and isinstance(resolved.prompt, Conversation):
            conversation, left_out = drop_counters(resolved.prompt)
            resolved = replace(resolved, prompt=conversation) if left_out else resolved
        if self.reader is None:
            self._refuse_constraint(resolved)
            self._refuse_unspoken(resolved)
            # What it makes of the prompt is not known here; a server elsewhere tells no template either.
            family = apply_schema(choose_family(self.spec.template), self.loaded.schema)
            relayed = Relayed(resolved)
            relayed.remarks += left_out
            return ReadyJob(relayed, plan=plan_answer(family, resolved, ""))
        prompt = await self.reader.read(resolved)
        job = RequestJob(
            _with_biases(resolved, prompt.biases),
            prompt.tokens,
            self.spec.context,
            (*left_out, *prompt.notes),
            prompt.mask,
            outline=prompt.outline,
            shown=prompt.shown,
            ending=prompt.ending,
            loop_guard=self._defaults.answers.loop_guard,
        )
        return ReadyJob(job, len(prompt.tokens), prompt.plan)

    def _refuse_irreproducible(self, request: Generation) -> None:
        if request.reproducible and self.spec.grain is None:
            raise RequestError(
                f"The model {self._name} was not loaded to be reproducible, so its answers may depend on what else it "
                "serves; load it with --reproducible on an engine that can (llamacpp), or leave out `reproducible`.",
                "reproducible",
            )

    def _refuse_constraint(self, request: Generation) -> None:
        if request.constraint is not None:
            raise RequestError(
                f"The engine {self.engine}, which runs {self._name}, draws its tokens itself, so nothing here can hold "
                f"its answers to `{request.constraint.field}`; choose a model that another engine runs.",
                request.constraint.field,
            )

    def _refuse_unspoken(self, request: Generation) -> None:
        """What needs the model's own tokens, or its prompt without an answer."""
        for asked, field, what in (
            (request.tell_prompt, "logprobs", "tell how likely a prompt is"),
            (request.sampling.weighed, "post_sampling_probs", "tell by which probabilities they are drawn"),
            (request.max_tokens == 0, "max_tokens", "compute a prompt and no answer"),
            (request.biased_texts, "logit_bias", "say which tokens a text has; name token ids"),
        ):
            if asked:
                raise RequestError(
                    f"The engine {self.engine}, which runs {self._name}, draws its tokens itself, so nothing here can "
                    f"{what}, or choose a model that another engine runs.",
                    field,
                )

    def _list_unheld(self) -> Iterator[str]:
        """What the settings ask for and nobody here can see to, in sentences."""
        if self._defaults.reasoning.budget is not None and self.kind is ModelKind.CHAT:
            yield (
                f"The engine {self.engine} draws its tokens itself, so the reasoning budget of the settings does not "
                "bound its thoughts."
            )

    @property
    def _sampling(self) -> Sampling:
        return self._defaults.sampling.over(self.spec.sampling)

    def _resolved(self, request: Generation) -> ResolvedGeneration:
        """The request with its sampling in full, without biases on tokens that the model does not have, and held to
        JSON where answers are to be that."""
        defaults = self._defaults
        if defaults.answers.json_mode and request.constraint is None:
            request = replace(request, constraint=Constraint(JsonObject(), "--json-mode"))
        # A budget that nothing can hold is refused to those alone who ask for it.
        reasoning = defaults.reasoning if self.reader is not None else replace(defaults.reasoning, budget=None)
        request = replace(request, reasoning=request.reasoning.over(reasoning))
        # What is not computed anew cannot be scored.
        wanted = request if defaults.reuse and not request.tell_prompt else replace(request, cache=False)
        resolved = wanted.resolved(self._sampling)
        if self.reader is None or not resolved.sampling.logit_bias:
            return resolved
        size = self.reader.vocabulary
        known = tuple((token, bias) for token, bias in resolved.sampling.logit_bias if 0 <= token < size)
        return replace(resolved, sampling=replace(resolved.sampling, logit_bias=known))


def _with_biases(request: ResolvedGeneration, biases: tuple[tuple[int, float], ...]) -> ResolvedGeneration:
    """A request with these, beside its own."""
    if not biases:
        return request
    return replace(request, sampling=replace(request.sampling, logit_bias=(*request.sampling.logit_bias, *biases)))
