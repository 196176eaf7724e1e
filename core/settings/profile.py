"""What a user wants of one model: the table `[models.NAME]` of the config file."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import asdict

from core.chat.template import RESERVED
from core.requests import Sampling, SamplingWish
from core.settings.model import ModelSettings

Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]


class SamplingDefaults(Struct, frozen=True, forbid_unknown_fields=True):
    """How requests that say nothing are sampled; None leaves it to the model's makers."""

    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=0)] | None = None

    def over(self, base: Sampling) -> Sampling:
        """`base` with what is said here in its place."""
        return SamplingWish(**asdict(self)).over(base)


class Profile(ModelSettings, frozen=True):
    """What is not said here is left to the section `[model]`."""

    source: str | None = None
    """What is loaded under this name: an alias, a Hub id, a path or a URL; None takes the name itself."""
    ttl: Annotated[float, Meta(ge=0)] | None = None
    """Idle seconds before it is unloaded; zero keeps it."""
    pin: bool = False
    """Never unload it for others, or for being idle."""
    sampling: SamplingDefaults = SamplingDefaults()
    chat_template_kwargs: dict[str, str | int | float | bool] | None = None
    """Variables of its chat template, for requests that do not set them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.chat_template_kwargs or ():
            if name in RESERVED:
                raise ValueError(f"chat_template_kwargs may not set {name}, which the server sets itself")
