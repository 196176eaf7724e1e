"""What a load takes, as a process that does nothing else sees it."""

from core.contract.options import LoadOptions
from core.contract.placement import HOST
from core.engines.llamacpp.engine import LlamaCppEngine
from core.models.resolve import resolve_own
from core.trial.weighing import measure_load

GUIDE = resolve_own("guide")


def test_a_context_that_is_no_larger_than_a_batch_is_weighed() -> None:
    options = LoadOptions(ctx_size=256, slots=1, batch=512, threads=1, batch_threads=1)
    model, (host,) = measure_load(LlamaCppEngine(), GUIDE, options)
    # How much it is says nothing in a process that has freed other models before.
    assert (host.device, host.bytes >= 0) == (HOST, True)
    assert model.spec.cells < model.spec.batch
    model.shutdown()
