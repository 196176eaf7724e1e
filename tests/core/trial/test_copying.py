"""How fast a model copies a text with guesses."""

from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.trial.copying import TEXT, measure_copying


def copier(context: int) -> EchoModel:
    """Says the text again after the text and its beginning."""
    return EchoModel(LoadOptions(ctx_size=context, slots=1, batch=128), lambda said: TEXT * 3)


def test_a_copy_is_timed_with_how_often_guesses_came_true() -> None:
    model = copier(2 * len(TEXT) + 128)
    copied = measure_copying(model, 64)
    assert copied is not None
    assert copied.rate > 0
    assert all(0 <= share <= 1 for share in copied.acceptance)
    assert model._sequences == {}


def test_where_the_context_is_too_small_nothing_is_copied() -> None:
    assert measure_copying(copier(256), 64) is None
