"""What is kept of a request until a collector is told of it."""

from core.events import Timings, Usage
from core.observing.otlp.facts import extract_facts
from core.requests import Caller, SamplingWish
from core.serving.report import RequestReport
from core.snapshots import ModelKind
from tests.fakes.support import asks


def test_of_a_bias_nothing_is_kept() -> None:
    wish = SamplingWish(temperature=0.5, logit_bias=tuple((token, 1.0) for token in range(1000)))
    asked = asks("x", "echo:latest", sampling=wish)
    report = RequestReport("id", "echo", ModelKind.CHAT, Caller(), asked, 0.0, 1.0, None, None, Usage(), Timings())
    facts = extract_facts(report, "echo")
    assert facts.asked.sampling == SamplingWish(temperature=0.5)
    assert (facts.asked_model, facts.model) == ("echo:latest", "echo")
