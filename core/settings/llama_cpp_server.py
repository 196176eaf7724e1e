"""The layout of the config files of llama-cpp-python's example server, which examples/server/README.md of that project
describes: the sections `server`, `model` and `disk_cache`, and what becomes of keys that have no like here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, defstruct

from core.contract.declared import list_fields
from core.contract.options import KvElement, LoadSettings, Pooling
from core.contract.placement import SplitMode

Context = Annotated[int, Meta(ge=0, le=16_777_216)]
LOOKUP: Final = "prompt-lookup-decoding"
HEADS: Final = "draft-mtp"

GGML_TYPES: Final = {
    0: KvElement.F32,
    1: KvElement.F16,
    2: KvElement.Q4_0,
    8: KvElement.Q8_0,
    30: KvElement.BF16,
}
"""Of `enum ggml_type` in ggml.h, those that the KV cache may have here."""

SPLIT_MODES: Final = {0: SplitMode.NONE, 1: SplitMode.LAYER, 2: SplitMode.ROW}
"""Of `enum llama_split_mode` in llama.h."""

POOLINGS: Final = {1: Pooling.MEAN, 2: Pooling.CLS, 3: Pooling.LAST, 4: Pooling.RANK}
"""Of `enum llama_pooling_type` in llama.h; -1 leaves it to the model."""

CHANGES_ANSWERS: Final[Mapping[str, str]] = {
    "mtmd": "images, sound and video in prompts",
    "max_output_tokens": "a bound on answers whose requests set none",
    "attention_type": "another kind of attention",
    "kv_overrides": "other metadata than the model's own",
    "vocab_only": "loading the vocabulary alone",
    "rope_scaling_type": "another scaling of positions",
    "rope_freq_base": "another scaling of positions",
    "rope_freq_scale": "another scaling of positions",
    "yarn_ext_factor": "another scaling of positions",
    "yarn_attn_factor": "another scaling of positions",
    "yarn_beta_fast": "another scaling of positions",
    "yarn_beta_slow": "another scaling of positions",
    "yarn_orig_ctx": "another scaling of positions",
}
CHANGES_SPEED: Final[Mapping[str, str]] = {
    "no_perf": "the engine's own timings are never taken",
    "kv_unified": "all sequences share one KV cache",
    "store_logits": "log-probabilities are given where a request asks for them",
    "embedding": "a model's file tells whether it embeds",
    "prompt_chunk_size": "long prompts are divided by what else is running",
}
AS_DEFAULT: Final[Mapping[str, object]] = {
    "mtmd": {},
    "kv_overrides": {},
    "vocab_only": False,
    "attention_type": -1,
    "rope_scaling_type": -1,
    "rope_freq_base": 0.0,
    "rope_freq_scale": 0.0,
    "yarn_ext_factor": -1.0,
    "yarn_orig_ctx": 0,
    "no_perf": True,
    "kv_unified": True,
}
"""Values that ask for nothing but what is done here anyway."""


# In all of these, None was not given, or given as null.


class ServerOptions(Struct, frozen=True, forbid_unknown_fields=True):
    host: str | None = None
    port: Annotated[int, Meta(ge=0, le=65_535)] | None = None


class FromPretrained(Struct, frozen=True, forbid_unknown_fields=True):
    repo_id: str
    filename: str
    """A path in the repository, or a pattern such as `*Q4_K_M.gguf`."""
    additional_files: tuple[str, ...] | None = None
    cache_dir: str | None = None
    local_dir: str | None = None
    local_dir_use_symlinks: bool | Literal["auto"] | None = None


class LoraOptions(Struct, frozen=True, forbid_unknown_fields=True):
    path: str | None = None
    from_pretrained: FromPretrained | None = None
    scale: float = 1.0


class DiskCache(Struct, frozen=True, forbid_unknown_fields=True):
    path: str | None = None
    max_bytes: int | None = None
    min_tokens: int | None = None


class ModelOptions(Struct, frozen=True, forbid_unknown_fields=True):
    path: str | None = None
    from_pretrained: FromPretrained | None = None
    alias: str | None = None
    n_ctx: Context | None = None
    max_seq_len: Annotated[int, Meta(ge=1, le=16_777_216)] | None = None
    n_seq_max: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    type_k: int | None = None
    type_v: int | None = None
    loras: tuple[LoraOptions, ...] | None = None
    chat_template: str | tuple[str, ...] | None = None
    response_schema: dict[str, object] | None = None
    pooling_type: int | None = None
    # What would change the answers.
    mtmd: dict[str, object] | None = None
    max_output_tokens: int | None = None
    attention_type: int | None = None
    kv_overrides: dict[str, bool | int | float | str] | None = None
    vocab_only: bool | None = None
    rope_scaling_type: int | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_fast: float | None = None
    yarn_beta_slow: float | None = None
    yarn_orig_ctx: int | None = None
    n_gpu_layers: int | None = None
    """Below zero: all."""
    split_mode: int | None = None
    tensor_split: tuple[float, ...] | None = None
    # What concerns speed and memory alone.
    no_perf: bool | None = None
    kv_unified: bool | None = None
    store_logits: bool | None = None
    embedding: bool | None = None
    prompt_chunk_size: int | None = None
    draft_model: str | None = None
    draft_model_path: str | None = None
    draft_model_from_pretrained: FromPretrained | None = None
    draft_model_num_pred_tokens: int | None = None
    draft_model_max_ngram_size: int | None = None
    draft_model_top_k: int | None = None
    draft_model_p_min: float | None = None
    draft_model_max_batch_size: int | None = None
    draft_model_threads: int | None = None
    draft_model_threads_batch: int | None = None


class LlamaConfig(Struct, frozen=True, forbid_unknown_fields=True):
    model: dict[str, object]
    server: ServerOptions | None = None
    disk_cache: DiskCache | None = None


DECLARED: Final = {each.llama_cpp: each for each in list_fields(LoadSettings) if each.llama_cpp is not None}
MODEL: Final = defstruct(
    "Model",
    [(name, each.kind | None, None) for name, each in DECLARED.items() if name not in ModelOptions.__struct_fields__],
    bases=(ModelOptions,),
    frozen=True,
    forbid_unknown_fields=True,
)
"""`ModelOptions`, and the load options that are declared with a name there."""
