"""What `auto` stands for: a table of prompts."""

import pytest

from core.errors import RequestError
from core.requests import Conversation, Generation, RawTokens, Role
from core.serving.routing import AUTO, Route, choose_route, extract_features
from core.settings.schema import Strategy
from tests.fakes.support import asks, said

SMALL, MIDDLE, LARGE = Route("small", 1, 1024), Route("middle", 4, 4096), Route("large", 16, 16_384)
ALL = (LARGE, SMALL, MIDDLE)

CODE = "Fix this:\n```python\ndef f(x):\n    return x + 1;\n```\nimport os\n"
PROOF = "Prove that the integral of 1/x diverges, and that 3 + 4 = 7 in every ring; use the theorem."
STEPS = (
    "First list the options, then compare them, explain why one is best, and finally design a plan.\n1. cost\n2. risk"
)

TABLE = [
    ("Hi!", "small", "plain"),
    ("What is the capital of France?", "small", "plain"),
    ("Tell me a short joke about cats.", "small", "plain"),
    (CODE, "large", "code"),
    (PROOF, "large", "mathematics"),
    (STEPS, "middle", "steps"),
    ("人工知能について短く説明してください。", "middle", "languages"),
    ("A long story. " * 280, "middle", "length"),
]


@pytest.mark.parametrize(
    ("text", "model", "because"), TABLE, ids=[because + str(i) for i, (_, _, because) in enumerate(TABLE)]
)
def test_the_harder_a_prompt_looks_the_larger_the_model(text: str, model: str, because: str) -> None:
    decision = choose_route(asks(text, AUTO), ALL, Strategy.COMPLEXITY)
    assert decision.model == model, decision.reason
    assert because in decision.reason
    assert decision.reason.isascii()


def test_only_the_last_thing_said_by_the_user_counts_save_for_the_length() -> None:
    turns = Conversation((said(CODE), said("Thanks!")))
    assert extract_features(Generation(AUTO, turns)).code == 0.0


def test_the_cheapest_is_the_smallest_whose_context_holds_prompt_and_answer() -> None:
    assert choose_route(asks("Hi", AUTO, max_tokens=100), ALL, Strategy.CHEAPEST).model == "small"
    assert choose_route(asks("Hi", AUTO, max_tokens=2000), ALL, Strategy.CHEAPEST).model == "middle"
    assert choose_route(asks("word " * 4000, AUTO), ALL, Strategy.CHEAPEST).model == "large"


def test_a_model_whose_context_nobody_knows_yet_may_be_chosen() -> None:
    assert choose_route(asks("word " * 400, AUTO), (Route("new", 1),), Strategy.CHEAPEST).model == "new"


def test_round_robin_takes_each_in_turn_of_those_that_fit() -> None:
    short, long = asks("Hi", AUTO), asks("word " * 1200, AUTO)
    assert [choose_route(short, ALL, Strategy.ROUND_ROBIN, n).model for n in range(4)] == [
        "large",
        "small",
        "middle",
        "large",
    ]
    assert [choose_route(long, ALL, Strategy.ROUND_ROBIN, n).model for n in range(3)] == ["large", "middle", "large"]


@pytest.mark.parametrize("strategy", Strategy)
def test_a_prompt_that_fits_nowhere_is_refused_with_the_sizes(strategy: Strategy) -> None:
    with pytest.raises(RequestError, match="16384"):
        choose_route(asks("word " * 20_000, AUTO), ALL, strategy)


def test_a_prompt_of_tokens_is_judged_by_its_length_alone() -> None:
    assert choose_route(Generation(AUTO, RawTokens((1, 2, 3))), ALL, Strategy.COMPLEXITY).model == "small"


def test_results_of_tools_ask_for_a_larger_model() -> None:
    messages = (said("What is the weather?"), *(said("Rain.", Role.TOOL) for _ in range(2)))
    request = asks("", AUTO, prompt=Conversation(messages))
    decision = choose_route(request, ALL, Strategy.COMPLEXITY)
    assert decision.model == "large"
    assert "tools 1.0" in decision.reason
