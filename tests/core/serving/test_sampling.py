"""How a request is sampled: as it says, else as the user wants the model sampled, else as the model's makers do."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import replace

from core.contract.step import SequenceId
from core.engines.echo import EchoModel
from core.requests import Sampling, SamplingWish
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.settings.profile import SamplingDefaults
from tests.fakes.support import asks

MAKERS = Sampling(temperature=0.6, top_k=7, min_p=0.0)


class Noting(EchoModel):
    """Keeps what each sequence was opened with."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, sampling=MAKERS)
        self.opened: list[Sampling] = []

    def open(self, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        self.opened.append(sampling)
        return super().open(sampling, history)


@asynccontextmanager
async def serving(model: Noting, sampling: SamplingDefaults = SamplingDefaults()) -> AsyncIterator[Host]:
    loaded = LoadedModel(model, "echo")
    host = Host("m", lambda *_: loaded, max_queue=8, queue_timeout=60.0, slots=None, sampling=sampling)
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


async def sampled(wish: SamplingWish, users: SamplingDefaults = SamplingDefaults()) -> Sampling:
    model = Noting()
    async with serving(model, users) as host:
        await (await host.submit(asks("hello", sampling=wish))).reply()
    return model.opened[0]


async def test_a_request_that_says_nothing_is_sampled_as_the_makers_recommend() -> None:
    assert await sampled(SamplingWish()) == MAKERS


async def test_a_users_sampling_goes_before_the_makers_and_a_requests_before_both() -> None:
    users = SamplingDefaults(temperature=0.25, top_k=3)
    assert await sampled(SamplingWish(temperature=0.0), users) == replace(MAKERS, temperature=0.0, top_k=3)


async def test_a_zero_is_something_that_a_request_says() -> None:
    assert (await sampled(SamplingWish(top_k=0, logprobs=0))) == replace(MAKERS, top_k=0, logprobs=0)


async def test_biases_on_tokens_that_the_model_does_not_have_are_left_out() -> None:
    wish = SamplingWish(logit_bias=((5, 1.0), (9999, 1.0), (-1, 1.0)))
    assert (await sampled(wish)).logit_bias == ((5, 1.0),)
