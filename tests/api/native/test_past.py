"""What /health says of the servers before this one, where a supervisor brought it back."""

from api.native.health import Health, add_past
from core.supervision import Past

WELL = Health("ok", "echo", "echo", 1.0)
DIED = Past(2, "The server died of SIGSEGV.", {"bad": "The model bad is not loaded any more."})


def test_deaths_are_counted_and_the_last_is_told() -> None:
    told, ready = add_past(WELL, True, Past(2, "The server died of SIGSEGV."), "echo")
    assert (told.status, told.restarts, told.last_death, ready) == ("ok", 2, "The server died of SIGSEGV.", True)


def test_a_refused_model_beside_others_degrades() -> None:
    told, ready = add_past(WELL, True, DIED, "echo")
    assert (told.status, told.detail, ready) == ("degraded", "The model bad is not loaded any more.", True)


def test_a_refused_default_model_is_a_failure() -> None:
    told, ready = add_past(WELL, True, DIED, "bad")
    assert (told.status, told.model, told.detail, ready) == (
        "failed",
        "bad",
        "The model bad is not loaded any more.",
        False,
    )
