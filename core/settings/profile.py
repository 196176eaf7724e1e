"""What a user wants of one model: the table `[models.NAME]` of the config file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from core.contract.options import KvType, LoadOptions, Lora
from core.requests import Sampling, SamplingWish

Share = Annotated[float, Meta(ge=0, le=1)]
Batch = Annotated[int, Meta(ge=32, le=16_384)]
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


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """None leaves a setting to the section `[model]`, which holds for all models."""

    source: str | None = None
    """What is loaded under this name: an alias, a Hub id, a path or a URL; None takes the name itself."""
    engine: str | None = None
    ctx_size: Annotated[int, Meta(ge=16, le=16_777_216)] | None = None
    slots: Annotated[int, Meta(ge=1, le=200)] | None = None
    threads: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    batch: Batch | None = None
    micro_batch: Batch | None = None
    kv_type: KvType | None = None
    flash_attention: bool | None = None
    ttl: Annotated[float, Meta(ge=0)] | None = None
    """Idle seconds before it is unloaded; zero keeps it."""
    loras: tuple[Lora | str, ...] = ()
    """Adapters to add, by path or as tables with `path` and `scale`."""
    draft: str | None = None
    """What guesses ahead for it: `prompt-lookup`, the name of a smaller model, or `none`."""
    pin: bool = False
    """Never unload it for others, or for being idle."""
    sampling: SamplingDefaults = SamplingDefaults()

    def options(self, base: LoadOptions) -> LoadOptions:
        """`base` with what is said here in its place."""
        wishes = {
            "context": self.ctx_size,
            "slots": self.slots,
            "threads": self.threads,
            "batch": self.batch,
            "micro_batch": self.micro_batch,
            "kv_type": self.kv_type,
            "flash_attention": self.flash_attention,
        }
        options = replace(base, **{name: value for name, value in wishes.items() if value is not None})
        return replace(options, loras=tuple(map(_lora, self.loras))) if self.loras else options


def _lora(given: Lora | str) -> Lora:
    lora = Lora(given) if isinstance(given, str) else given
    return replace(lora, path=str(Path(lora.path).expanduser()))
