"""Canonical requests. Every dialect of the wire is translated to these, and engines know nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from fnmatch import fnmatchcase

from msgspec import Struct, field
from msgspec.structs import asdict, replace

Scalar = str | int | float | bool | None
COLDEST_TEMPERATURE = 1e-5
"""A temperature below this counts as zero: the likeliest token would win anyway, and logits divided by it overflow."""


class Role(Enum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class TextPart(Struct, frozen=True, tag="text"):
    """A run of text."""

    text: str


Part = TextPart


class ToolCall(Struct, frozen=True):
    """A call of a tool that the assistant asked for."""

    id: str
    name: str
    arguments: str
    """A JSON object, as the model wrote it."""


class Tool(Struct, frozen=True):
    """A function that the model may ask to be called."""

    name: str
    description: str = ""
    parameters: str = "{}"
    """The JSON Schema of its arguments."""
    strict: bool = False
    """Whether calls of it must keep to `parameters`, whatever the model makes of them otherwise."""
    enforced: str = ""
    """The schema that masks hold its calls to, where that says more than the model is told in `parameters`."""

    @property
    def held_to(self) -> str:
        """The JSON Schema that masks hold its calls to."""
        return self.enforced or self.parameters


class Calling(Enum):
    """Whether the model is to ask for tools."""

    AUTO = "auto"
    """As it sees fit."""
    NONE = "none"
    """Not; the tools stay in the prompt, so that what was cached of it holds."""
    REQUIRED = "required"
    """It asks for one at least."""


class CallOf(Struct, frozen=True):
    """The model asks for this tool."""

    name: str


ToolChoice = Calling | CallOf


class Message(Struct, frozen=True):
    """One turn of a conversation; `parts` keeps the order in which the client sent them."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    """Of the assistant."""
    tool_call_id: str | None = None
    """Which call this is the result of."""
    reasoning: str = ""
    """What the assistant thought before it said this."""

    @property
    def text(self) -> str:
        """All parts, each on a line of its own, as other servers put them together."""
        return "\n".join(part.text for part in self.parts)


class Conversation(Struct, frozen=True, tag="conversation"):
    """A prompt that the model's chat template renders."""

    messages: tuple[Message, ...]
    template_arguments: Mapping[str, Scalar] = field(default_factory=dict)
    """Extra variables for the template; reserved names are refused where they enter."""
    tools: tuple[Tool, ...] = ()
    continued: bool = False
    """The last message is the assistant's, and is to be gone on with."""
    begun: bool = True
    """The assistant's turn is begun behind the last message, where that is not gone on with."""


class RawText(Struct, frozen=True, tag="text"):
    """A prompt that is tokenised as it stands, no template around it."""

    text: str


class RawTokens(Struct, frozen=True, tag="tokens"):
    """A prompt of token ids of the model that is asked."""

    tokens: tuple[int, ...]


class Infill(Struct, frozen=True, tag="infill"):
    """The text that belongs between two others, for models that were trained to fill gaps."""

    before: str
    after: str
    files: tuple[tuple[str, str], ...] = ()
    """Names and texts of other files that the model is shown first."""
    begun: str = ""
    """What the answer begins with already."""


Prompt = Conversation | RawText | RawTokens | Infill


def name_prompt_field(prompt: Prompt) -> str:
    """The field of a request that a prompt stands in, for errors to name."""
    return "messages" if isinstance(prompt, Conversation) else "prompt"


class ReasoningWish(Struct, frozen=True):
    """What a request says of the thinking before an answer. None leaves it to the model's chat template."""

    think: bool | None = None
    effort: str | None = None
    """A word that chat templates know, as `low`."""
    budget: int | None = None
    """Tokens of thinking at most; the thought is then ended, and the answer begins."""
    message: str = ""
    """What the model is made to have thought last where the budget ends its thought."""
    inline: bool = False
    """Leave the thought in the answer's text, as the model wrote it."""

    def over(self, base: ReasoningWish) -> ReasoningWish:
        """What is said here, and what `base` says of the rest."""
        told = self.think is not None or self.effort is not None
        return replace(
            self,
            effort=self.effort if told else base.effort,
            budget=base.budget if self.budget is None else self.budget,
            message=self.message or base.message,
        )


class SamplingWish(Struct, frozen=True):
    """What a request says of how its tokens are drawn. None leaves a field to the model's settings and its makers."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: tuple[tuple[int, float], ...] | None = None
    seed: int | None = None
    logprobs: int | None = None
    weighed: bool | None = None
    joins_beginnings: bool | None = None

    def over(self, base: Sampling) -> Sampling:
        """`base` with the fields that are said here in place of its own."""
        return replace(base, **{name: value for name, value in asdict(self).items() if value is not None})


class Sampling(SamplingWish, frozen=True):
    """How the next token is drawn. Defaults are neutral save temperature, top-k, top-p and min-p (llama.cpp's)."""

    temperature: float = 0.8
    """Zero, or all but zero, draws the likeliest token always (greedy)."""
    top_k: int = 40
    """Keep the k likeliest; zero keeps all."""
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    """How many tokens back the three penalties look; -1 is the whole context, 0 switches them off."""
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token id, added to its logit); -inf bans a token."""
    seed: int | None = None
    """None draws a fresh seed. Choice i of a request samples with seed + i. Any integer: engines whose seeds are
    narrower, or where one of them means something else, fold it."""
    logprobs: int | None = None
    """None: no log-probabilities; k: those of the token drawn and of the k likeliest."""
    weighed: bool = False
    """Whether they are those by which tokens are drawn, in which bias, penalties, mask, truncation and temperature are
    counted, so that there may be fewer than k; else the model's own."""
    joins_beginnings: bool = False
    """Whether a token counts together with those that begin with its text, and an end goes before many unlikely tokens:
    llama.cpp's `infill`, for gaps. Only where k of top-k is small, and where the engine has it."""

    @property
    def greedy(self) -> bool:
        return self.temperature < COLDEST_TEMPERATURE

    def choice(self, index: int) -> Sampling:
        """That of one choice of a request: choices must differ, and each must be repeatable."""
        return self if self.seed is None or index == 0 else replace(self, seed=self.seed + index)


class JsonObject(Struct, frozen=True, tag="json_object"):
    """Any JSON object."""


class JsonSchema(Struct, frozen=True, tag="json_schema"):
    """A JSON text that a schema allows. Members stand in the order in which the schema names them."""

    schema: str
    """JSON: an object or a boolean."""


class RegexPattern(Struct, frozen=True, tag="regex"):
    """A text that the regular expression matches from end to end."""

    pattern: str


class TextChoice(Struct, frozen=True, tag="choice"):
    """One of these texts."""

    texts: tuple[str, ...]


class LarkGrammar(Struct, frozen=True, tag="lark"):
    """A text of a grammar in Lark's language, in the dialect of llguidance."""

    grammar: str


class GbnfGrammar(Struct, frozen=True, tag="gbnf"):
    """A text of a grammar in llama.cpp's language."""

    grammar: str


class LineBounds(Struct, frozen=True):
    """What ends an answer as soon as it has a second line: for editors, which complete code while somebody types."""

    seconds: float | None = None
    """From the first token on."""
    indent: int = 0
    """Blanks and tabs that each line after the first must begin with; what one with fewer says is left out."""


AnswerForm = JsonObject | JsonSchema | RegexPattern | TextChoice | LarkGrammar | GbnfGrammar


class CallSchema(Struct, frozen=True):
    """What a tool's arguments must be, or one of them."""

    tool: str
    schema: str
    """A JSON Schema of an object, or of anything where `whole` is false."""
    whole: bool = True
    """Whether it is that of all the arguments, which are one object."""
    firm: bool = True
    """Whether it must be enforced; else anything of its kind will do where no mask enforces it."""


class CallForm(Struct, frozen=True, tag="calls"):
    """Calls of tools, as a family of models writes them."""

    grammar: str
    """Lark, in the dialect of llguidance, whose rule `calls` is one call or several. It refers to `marks` by their
    numbers, as `@mark0`, and to `schemas` as `@schema0`."""
    marks: tuple[str, ...] = ()
    """Texts in which there may be control tokens of the model."""
    schemas: tuple[CallSchema, ...] = ()
    ends: tuple[tuple[str, str], ...] = ()
    """Texts before which anything may stand, each with a regular expression of what may, if that is not anything:
    `@end0` is all up to the first such text, and the text."""
    otherwise: AnswerForm | None = None
    """What the answer may be in place of calls."""


MaskForm = AnswerForm | CallForm


class Constraint(Struct, frozen=True):
    """What an answer must be; a model's thinking before it is free."""

    form: MaskForm
    field: str = ""
    """The wire name of the field that asks for it, which errors name."""


class Priority(Enum):
    """Who goes first where there is not room for all; see `core.serving.queue`."""

    INTERACTIVE = "interactive"
    """Somebody waits for the answer."""
    NORMAL = "normal"
    BATCH = "batch"
    """Nobody waits."""


class Caller(Struct, frozen=True):
    """Who asks, by the key that came with the request, and what the holder of that key may."""

    name: str = ""
    """Of the key, for people; empty for this machine's own user, and for anybody where the server asks for no key."""
    tenant: str = ""
    """A digest that stands for the key. Caches are divided by tenant: who holds another key sees no hits of this
    one."""
    most_urgent: Priority = Priority.INTERACTIVE
    """What its requests may ask at most."""
    models: tuple[str, ...] = ()
    """Names of models, where `*` stands for any letters: all that it may use. Empty: any at all."""
    admin: bool = True
    """Whether it may see and change what is not its own."""
    metrics: bool = True
    """Whether it may see what is summed up over all keys. Who may not still sees its own account."""

    def bound_priority(self, wanted: Priority) -> Priority:
        """The priority that a request gets which wants this one."""
        order = tuple(Priority)
        return max(wanted, self.most_urgent, key=order.index)

    def may_use(self, model: str) -> bool:
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


class Generation(Struct, frozen=True):
    """A request to generate text from one prompt, in `n` independent choices."""

    model: str
    prompt: Prompt
    sampling: SamplingWish = SamplingWish()
    max_tokens: int | None = None
    """New tokens per choice at most; None goes on until the model stops or the context is full. With zero the prompt is
    computed, and that is all."""
    biased_texts: tuple[tuple[str, float], ...] = ()
    """As `sampling.logit_bias`, for each token of a text."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer where they come up; not in a thought before it."""
    lines: LineBounds = LineBounds()
    n: int = 1
    constraint: Constraint | None = None
    tool_choice: ToolChoice = Calling.AUTO
    """Of a conversation's tools."""
    allowed_tools: frozenset[str] | None = None
    """The names of those that may be called; None allows all. The prompt tells of all of them, so that what was cached
    of it holds."""
    parallel_calls: bool = True
    """Whether one answer may ask for several tools."""
    parse_calls: bool = True
    """Whether calls are told apart from the answer's text."""
    reasoning: ReasoningWish = ReasoningWish()
    ignore_eos: bool = False
    """Go on past the model's end-of-generation tokens (for measuring)."""
    cache: bool = True
    """Whether a cached prefix may be used and the result kept."""
    reproducible: bool = False
    """Whether the answer must be the same alone and in company, after a cached prefix and without."""
    tell_prefill: bool = False
    """Tell how far the prompt is computed, by `Prefilled` events."""
    tell_prompt: bool = False
    """Tell how likely the prompt's own tokens are, by `PromptScored`, with as many of the likeliest as
    `sampling.logprobs` says."""
    tell_tokens: bool = False
    """Have each `TextDelta` say which tokens were drawn."""
    tell_timings: bool = False
    """Have each `TextDelta` say what its choice has taken so far."""
    caller: Caller = Caller()
    cache_salt: str | None = None
    """Divides the tenant's cache further: only requests with the same salt share prefixes."""
    priority: Priority = Priority.NORMAL
    request_id: str = ""
    route: str = ""
    """Why this model was chosen, where the client left that to the workbench."""

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """Those of the conversation's tools that may be called."""
        if not isinstance(self.prompt, Conversation) or self.tool_choice is Calling.NONE:
            return ()
        allowed = self.allowed_tools
        return tuple(tool for tool in self.prompt.tools if allowed is None or tool.name in allowed)

    def resolved(self, base: Sampling) -> ResolvedGeneration:
        """The request as a model takes it: what it leaves open about its sampling is as in `base`."""
        return ResolvedGeneration(**{**asdict(self), "sampling": self.sampling.over(base)})


class ResolvedGeneration(Generation, frozen=True):
    """A request whose sampling is known in every field, since its model is."""

    sampling: Sampling = Sampling()


class Embedding(Struct, frozen=True):
    """A request for the vectors of one text or several."""

    model: str
    inputs: tuple[RawText | RawTokens, ...]
    """Tokens are taken as they stand; a text gets those around it that the model was trained with."""
    dimensions: int | None = None
    """Keep so many numbers of each vector, and bring it to length one again; None keeps all as the model gives them."""
    truncate: bool = False
    """Cut what is longer than the model takes; it is refused otherwise."""
    field: str = "input"
    """The wire name of the field that holds the inputs, which errors name."""
    cache: bool = True
    """Whether vectors may be those that were computed before for the same tenant, and are kept for it."""
    caller: Caller = Caller()
    request_id: str = ""

    @property
    def n(self) -> int:
        """Choices: there is always one."""
        return 1


class Reranking(Struct, frozen=True):
    """A request to tell how well each of several texts answers a query."""

    model: str
    query: str
    documents: tuple[str, ...]
    truncate: bool = False
    """Cut documents that are longer, with the query, than the model takes; they are refused otherwise."""
    field: str = "documents"
    """The wire name of the field that holds the documents, which errors name."""
    cache: bool = True
    """Whether scores may be those that were computed before for the same tenant, and are kept for it."""
    caller: Caller = Caller()
    request_id: str = ""

    @property
    def n(self) -> int:
        """Choices: there is always one."""
        return 1


class Transcription(Struct, frozen=True):
    """A request to write down what is said in an audio file."""

    model: str
    audio: bytes
    """A whole file, in any format that `core.tasks.audio` decodes."""
    language: str | None = None
    """ISO 639-1 of what is spoken; None lets the model find out."""
    translate: bool = False
    """Write it down in English, whatever is spoken."""
    prompt: str = ""
    """Text that might have come before; sets spelling and style."""
    temperature: float = 0.0
    """Zero draws the likeliest token always."""
    fallback: bool = True
    """Hear again, with more and more temperature, what came out improbable or repetitive at temperature zero."""
    words: bool = False
    """Tell when each word is said."""
    caller: Caller = Caller()
    request_id: str = ""

    @property
    def n(self) -> int:
        """Choices: there is always one."""
        return 1
