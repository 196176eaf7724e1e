"""The loop of a reranker, through a host: scores, and what cannot be ranked."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from core.contract.models import ModelSpec, Reranker, TokenPair
from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.errors import RequestError
from core.requests import Reranking
from core.snapshots import ModelKind
from core.tasks.rerank import PairTooLong, fold_ranking
from tests.core.serving.loops.letters import embeds, flowing, serving


class Overlap(Reranker):
    """Scores a document by how many letters it shares with the query."""

    def __init__(self) -> None:
        self._spec = replace(EchoModel(LoadOptions()).spec, slots=4, batch=16, context=12, cells=0)
        self.passes: list[int] = []

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def vocabulary(self) -> int:
        return 256

    @property
    def padded(self) -> bool:
        return False

    @property
    def bounded(self) -> bool:
        return False

    def encode_pair(self, query: str, document: str, *, limit: int | None = None) -> TokenPair:
        head = [*query.encode(), 0]
        room = None if limit is None else max(0, limit - len(head))
        return TokenPair([*head, *document.encode()[:room]], len(head))

    def score(self, pairs: Sequence[TokenPair]) -> Sequence[float]:
        self.passes.append(len(pairs))
        return [float(len(set(pair.tokens[: pair.second - 1]) & set(pair.tokens[pair.second :]))) for pair in pairs]

    def interrupt(self, on: bool) -> None:
        """Its passes are over at once."""

    def shutdown(self) -> None:
        """It holds nothing."""


def ranks(query: str, *documents: str, **fields: object) -> Reranking:
    return Reranking("letters", query, documents, **fields)  # type: ignore[arg-type]


async def test_documents_are_scored_in_their_order_with_the_tokens_of_all_pairs() -> None:
    model = Overlap()
    async with serving(model) as host:
        stream = await host.submit(ranks("abc", "xyz", "abz", "cab"))
        made = fold_ranking([event async for batch in stream for event in batch])
        assert host.snapshot().kind is ModelKind.RERANKING
    assert (made.scores, made.bounded, made.usage.prompt_tokens) == ((0.0, 2.0, 3.0), False, 21)
    assert made.shares[0] == 0.5
    assert sum(model.passes) == 3


@pytest.mark.parametrize(
    ("request_", "field", "words"),
    [
        (ranks("", "a"), "query", "query is empty"),
        (ranks("a"), "documents", "nothing to rank"),
        (ranks("a", "b", ""), "documents[1]", "index 1 is empty"),
        (ranks("abcdefgh", "ok", "too long"), "documents[1]", "has 17 tokens with the query, and the model takes 12"),
        (ranks("a", "b", "x" * 20, field="texts"), "texts[1]", "texts"),
        (ranks("abcdefghijklm", "b", truncate=True), "query", "has 14 tokens and the model takes 12"),
    ],
)
async def test_what_cannot_be_ranked_is_refused_by_field(request_: Reranking, field: str, words: str) -> None:
    async with serving(Overlap()) as host:
        with pytest.raises(RequestError, match=words) as caught:
            await host.submit(request_)
        assert caught.value.field == field
        assert isinstance(caught.value, PairTooLong) == ("takes" in str(caught.value))


async def test_pairs_that_come_to_too_many_tokens_in_all_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.serving.texts.MOST_PAIR_TOKENS", 10)
    async with serving(Overlap()) as host:
        with pytest.raises(RequestError, match="more than 10 tokens in all") as caught:
            await host.submit(ranks("abc", "def", "ghi"))
        assert caught.value.field == "documents"


async def test_a_reranker_says_that_it_makes_no_embeddings() -> None:
    async with serving(Overlap()) as host:
        with pytest.raises(RequestError, match="ranks documents and cannot make embeddings.*/v1/rerank"):
            await host.submit(embeds("hello"))
    async with serving(flowing()) as host:
        with pytest.raises(RequestError, match="makes embeddings and cannot rank documents.*/v1/embeddings"):
            await host.submit(ranks("a", "b"))
