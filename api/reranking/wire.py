"""Bodies of requests that rank documents, and of their replies."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from api.http.field_rules import Rules, allow_only, drop_field
from api.http.settle import Wire
from api.openai.generation_fields import ModelName
from api.openai.wire import Natural

MOST_DOCUMENTS: Final = 10_000
"""Of one request; Cohere's limit."""
RULES: Final[Rules] = {
    "api_version": drop_field(),
    "client_name": drop_field(""),
    "embedding_type": allow_only("", "float"),
    "instruct": allow_only(""),
    "instruction": allow_only(""),
    "keep_alive": drop_field(""),
    "max_chunks_per_doc": drop_field(),
    "max_tokens_per_doc": drop_field(),
    "metadata": drop_field({}),
    "mm_processor_kwargs": allow_only({}),
    "overlap_tokens": drop_field(),
    "priority": drop_field(0),
    "rank_fields": allow_only([], ["text"]),
    "request_id": drop_field(""),
    "timeout": drop_field(),
    "truncation_direction": allow_only("", "right", "Right"),
    "user": drop_field(""),
}
"""Fields of clients of all these dialects that nothing here reads."""


class DocumentObject(Wire, frozen=True):
    """A document as an object; its text alone is read."""

    rules = {"id": drop_field(""), "title": allow_only("")}

    text: str


class RerankRequest(Wire, frozen=True):
    """The body of POST /v1/rerank, and of the other paths where documents are ranked."""

    rules = RULES

    query: str
    documents: list[str | DocumentObject] | None = None
    texts: list[str] | None = None
    """The documents by the name that text-embeddings-inference gives them; the reply is as its own then."""
    model: ModelName | None = None
    top_n: Natural | None = None
    """How many of the best are told; all where it is left out."""
    top_k: Natural | None = None
    """The same by the name that Voyage's clients use."""
    return_documents: bool | None = None
    """Tell the documents too."""
    return_text: bool | None = None
    """The same with `texts`."""
    raw_scores: bool | None = None
    """Scores as the model gives them, in place of those from 0 to 1."""
    truncate: bool | None = None
    """Cut documents that are too long, in place of refusing them; Cohere's second version does so unasked."""
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1, le=-1)] | None = None
    """The same by vLLM's name."""
    cache_prompt: bool | None = None
    """An extension: false computes anew what was computed before, and keeps nothing."""


class RankedText(Struct, frozen=True):
    text: str


class RankedResult(Struct, frozen=True):
    index: int
    """Among the documents of the request."""
    relevance_score: float
    document: RankedText | UnsetType = UNSET


class RerankUsage(Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class ApiVersion(Struct, frozen=True):
    version: str


class BilledUnits(Struct, frozen=True):
    search_units: int = 1


class InputTokens(Struct, frozen=True):
    input_tokens: int


class RerankMeta(Struct, frozen=True):
    """As Cohere has it; nothing is billed."""

    api_version: ApiVersion
    tokens: InputTokens
    billed_units: BilledUnits = BilledUnits()


class RerankReply(Struct, frozen=True, kw_only=True):
    """What Jina's, Cohere's, vLLM's and llama.cpp's clients look for, the best document first."""

    id: str
    object: str = "list"
    model: str
    results: list[RankedResult]
    usage: RerankUsage
    meta: RerankMeta


class TextRank(Struct, frozen=True):
    """One of a reply's list, as text-embeddings-inference has it."""

    index: int
    score: float
    text: str | UnsetType = UNSET


class TextsToEmbed(Wire, frozen=True):
    """The body of text-embeddings-inference's POST /embed."""

    rules = {
        "normalize": allow_only(True),
        "prompt_name": allow_only(""),
        "truncation_direction": allow_only("", "right", "Right"),
    }

    inputs: str | list[str]
    truncate: bool | None = None
    dimensions: Natural | None = None
    model: ModelName | None = None
    """An extension, where several embedders are served."""
    cache_prompt: bool | None = None
    """An extension: false computes anew what was computed before, and keeps nothing."""
