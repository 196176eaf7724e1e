"""JSON config files: in the layout of the TOML ones, or as llama-cpp-python's example server reads them.

The latter have the sections `server`, `model` and `disk_cache`, described in examples/server/README.md of that
project. What changes nothing but speed or memory is taken with a warning where it does not exist here; what would
change the answers is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal, get_type_hints

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import asdict

from core.contract.options import KvType
from core.decoding.speculate import PROMPT_LOOKUP
from core.errors import ConfigError, ModelNotFound
from core.settings.check import convert, structs, wrong
from core.settings.merge import Tree

Positive = Annotated[int, Meta(ge=1, le=1_000_000)]
Context = Annotated[int, Meta(ge=0, le=16_777_216)]
SMALLEST_CONTEXT: Final = 16
BATCH: Final = (32, 16_384)
MOST_SLOTS: Final = 200
LOOKUP: Final = "prompt-lookup-decoding"

GGML_TYPES: Final = {0: KvType.F32, 1: KvType.F16, 2: KvType.Q4_0, 8: KvType.Q8_0, 30: KvType.BF16}
"""Of `enum ggml_type` in ggml.h, those that the KV cache may have here."""

REFUSED: Final[Mapping[str, str]] = {
    "mtmd": "images, sound and video in prompts",
    "response_schema": "parsing answers by a schema",
    "chat_template": "a chat template in place of the model's own",
    "max_output_tokens": "a bound on answers whose requests set none",
    "pooling_type": "another pooling of embeddings",
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
WARNED: Final[Mapping[str, str]] = {
    "n_gpu_layers": "the engine decides which layers an accelerator takes",
    "split_mode": "the engine decides how a model is split among accelerators",
    "main_gpu": "the engine decides which accelerator it takes",
    "tensor_split": "the engine decides how a model is split among accelerators",
    "offload_kqv": "the engine decides where the KV cache lies",
    "op_offload": "the engine decides what an accelerator computes",
    "swa_full": "the engine decides how much of a sliding window is kept",
    "no_perf": "the engine's own timings are never taken",
    "use_mmap": "weights are mapped into memory where nobody writes their file anew",
    "use_mlock": "weights are not locked into memory",
    "kv_unified": "all sequences share one KV cache",
    "store_logits": "log-probabilities are given where a request asks for them",
    "embedding": "a model's file tells whether it embeds",
    "threads_batch": "the threads for prompts are measured",
    "prompt_chunk_size": "long prompts are divided by what else is running",
}
AS_DEFAULT: Final[Mapping[str, object]] = {
    "mtmd": {},
    "kv_overrides": {},
    "vocab_only": False,
    "pooling_type": -1,
    "attention_type": -1,
    "rope_scaling_type": -1,
    "rope_freq_base": 0.0,
    "rope_freq_scale": 0.0,
    "yarn_ext_factor": -1.0,
    "yarn_orig_ctx": 0,
    "no_perf": True,
    "use_mmap": True,
    "use_mlock": False,
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
    max_seq_len: Positive | None = None
    n_seq_max: Positive | None = None
    n_batch: Positive | None = None
    n_ubatch: Positive | None = None
    threads: Positive | None = None
    flash_attn: bool | None = None
    type_k: int | None = None
    type_v: int | None = None
    loras: tuple[LoraOptions, ...] | None = None
    # What is refused.
    mtmd: dict[str, object] | None = None
    response_schema: dict[str, object] | None = None
    chat_template: str | tuple[str, ...] | None = None
    max_output_tokens: int | None = None
    pooling_type: int | None = None
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
    # What has no effect.
    n_gpu_layers: int | None = None
    split_mode: int | None = None
    main_gpu: int | None = None
    tensor_split: tuple[float, ...] | None = None
    offload_kqv: bool | None = None
    op_offload: bool | None = None
    swa_full: bool | None = None
    no_perf: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    kv_unified: bool | None = None
    store_logits: bool | None = None
    embedding: bool | None = None
    threads_batch: Positive | None = None
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
    model: ModelOptions
    server: ServerOptions | None = None
    disk_cache: DiskCache | None = None


def read_json(data: bytes, path: Path, settings: type[Struct]) -> tuple[Tree, tuple[str, ...]]:
    """What a JSON file says, by our sections, not yet checked against `settings`; and warnings. Raises ConfigError."""
    try:
        content: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"The config file {path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"The config file {path} holds no object of sections; begin it with {{ and end it with }}.")
    if not _is_llama(content, settings):
        return _given(content), ()
    source = f"the config file {path}"
    config = convert(content, LlamaConfig, source)
    return _translated(config, source), tuple(_warnings(config))


def _is_llama(content: Mapping[str, object], settings: type[Struct]) -> bool:
    """By its keys: a section or a key of a model that only llama-cpp-python's configs have."""
    own = next(structs(get_type_hints(settings)["model"])).__struct_fields__
    model = content.get("model")
    foreign = set(ModelOptions.__struct_fields__) - set(own)
    return "disk_cache" in content or (isinstance(model, Mapping) and not foreign.isdisjoint(model))


def _given(tree: Tree) -> Tree:
    """Without what is null."""
    return {
        key: _given(value) if isinstance(value, Mapping) else value for key, value in tree.items() if value is not None
    }


def _translated(config: LlamaConfig, source: str) -> Tree:
    """By our sections. The model becomes an entry of `[models]`."""
    model = config.model
    _refuse(model, source)
    name = model.alias or _stem(model)
    profile = {
        "source": _source(model, source),
        "ctx_size": _context(model, source),
        "slots": None if model.n_seq_max is None else min(model.n_seq_max, MOST_SLOTS),
        "batch": None if model.n_batch is None else _bounded(model.n_batch),
        "micro_batch": None if model.n_ubatch is None else _bounded(model.n_ubatch),
        "threads": model.threads,
        "flash_attention": model.flash_attn,
        "kv_type": _kv_type(model, source),
        "loras": _loras(model, source),
        "draft": PROMPT_LOOKUP if model.draft_model == LOOKUP else None,
    }
    server = asdict(config.server) if config.server else {}
    return _given({"server": server, "models": {name: profile}})


def _refuse(model: ModelOptions, source: str) -> None:
    for key, what in REFUSED.items():
        if _asks(model, key):
            raise ConfigError(
                f"{source[:1].upper()}{source[1:]} sets model.{key} ({what}), which this version cannot do and which "
                "would change the answers; take it out."
            )


def _asks(model: ModelOptions, key: str) -> bool:
    """Whether a key was given, with a value that differs from what is done anyway."""
    value = getattr(model, key)
    return value is not None and (key not in AS_DEFAULT or value != AS_DEFAULT[key])


def _stem(model: ModelOptions) -> str:
    name = model.from_pretrained.filename if model.from_pretrained else model.path or ""
    if "*" in name and model.from_pretrained:
        name = model.from_pretrained.repo_id
    return PurePosixPath(name.replace("\\", "/")).name.removesuffix(".gguf") or "model"


def _source(model: ModelOptions, source: str) -> str:
    if (model.path is None) == (model.from_pretrained is None):
        raise wrong(source, "model wants either path or from_pretrained, and one of them alone.")
    if model.from_pretrained is not None:
        return _hub_name(model.from_pretrained, source)
    path = model.path or ""
    # A relative path must not be taken for a repository of the Hub.
    plain = Path(path).is_absolute() or path.startswith((".", "~"))
    return path if plain else f"./{path}"


def _hub_name(wanted: FromPretrained, source: str) -> str:
    from core.names import HubName, parse_name

    if any(each in wanted.filename for each in "*?["):
        text = f"{wanted.repo_id}:{_label(wanted.filename, source)}"
    else:
        text = f"{wanted.repo_id}/{wanted.filename}"
    try:
        name = parse_name(text)
    except ModelNotFound as error:
        raise wrong(source, f"model.from_pretrained: {error}") from error
    if not isinstance(name, HubName):
        raise wrong(source, f"model.from_pretrained: {text!r} is no file of a repository; write repo_id as owner/name.")
    return str(name)


def _label(pattern: str, source: str) -> str:
    """The quant that a pattern tells, as `*Q4_K_M.gguf` does."""
    from core.names import GGUF_LABEL

    labels = GGUF_LABEL.findall(pattern.replace("*", "-").removesuffix(".gguf"))
    if len(labels) != 1:
        raise wrong(
            source, f"model.from_pretrained.filename: the pattern {pattern!r} tells no quant; write the file's name."
        )
    return str(labels[0])


def _context(model: ModelOptions, source: str) -> int | None:
    """Tokens that one request may hold. Divided caches give each sequence its part of `n_ctx`; zero is "as trained"."""
    whole = model.n_ctx or None
    if whole is not None and model.kv_unified is False:
        whole //= model.n_seq_max or 1
    wanted = [each for each in (whole, model.max_seq_len) if each is not None]
    if wanted and min(wanted) < SMALLEST_CONTEXT:
        raise wrong(
            source, f"model.n_ctx: a request would hold {min(wanted)} tokens; {SMALLEST_CONTEXT} are the fewest."
        )
    return min(wanted, default=None)


def _kv_type(model: ModelOptions, source: str) -> str | None:
    """One type for keys and values; a missing one is f16, as llama.cpp has it."""
    if model.type_k is None and model.type_v is None:
        return None
    keys, values = (1 if each is None else each for each in (model.type_k, model.type_v))
    if keys != values:
        raise wrong(
            source, f"model.type_k and model.type_v differ ({keys} and {values}), and here they cannot; set both alike."
        )
    if keys not in GGML_TYPES:
        known = ", ".join(f"{number} ({kind.value})" for number, kind in GGML_TYPES.items())
        raise wrong(source, f"model.type_k: {keys} is no type of the KV cache here; there are {known}.")
    return GGML_TYPES[keys].value


def _loras(model: ModelOptions, source: str) -> list[dict[str, object]] | None:
    for lora in model.loras or ():
        if lora.path is None or lora.from_pretrained is not None:
            raise wrong(source, "model.loras: adapters are files here; download them, and give each a path.")
    return [{"path": lora.path, "scale": lora.scale} for lora in model.loras or ()] or None


def _bounded(batch: int) -> int:
    return max(BATCH[0], min(batch, BATCH[1]))


def _warnings(config: LlamaConfig) -> Iterator[str]:
    model = config.model
    for key, instead in WARNED.items():
        if _asks(model, key):
            yield f"model.{key} has no effect: {instead}."
    yield from _drafting(model)
    for key in ("n_batch", "n_ubatch"):
        size: int | None = getattr(model, key)
        if size is not None and _bounded(size) != size:
            yield f"model.{key} is taken as {_bounded(size)}; it may be {BATCH[0]} to {BATCH[1]}."
    if model.n_seq_max is not None and model.n_seq_max > MOST_SLOTS:
        yield f"model.n_seq_max is taken as {MOST_SLOTS}, the most there may be."
    if model.from_pretrained is not None:
        yield from _fetching(model.from_pretrained)
    if config.disk_cache is not None:
        yield "disk_cache has no effect: sequences are kept in memory alone."


def _drafting(model: ModelOptions) -> Iterator[str]:
    """What is not taken over of the keys that begin with `draft_model`."""
    given = [
        key for key in model.__struct_fields__ if key.startswith("draft_model") and getattr(model, key) is not None
    ]
    if model.draft_model not in (None, LOOKUP):
        yield (
            f"{', '.join(f'model.{key}' for key in given)}: no effect; {LOOKUP} is what can be taken over, "
            "and `draft` of a model in a TOML file may name a smaller model."
        )
    elif details := [key for key in given if key != "draft_model"]:
        yield f"{', '.join(f'model.{key}' for key in details)}: no effect; how much is guessed follows what comes true."


def _fetching(wanted: FromPretrained) -> Iterator[str]:
    """What is said of where files go, and files that do not come along with the model's own."""
    from core.names import SPLIT

    place = "model.from_pretrained"
    stem = SPLIT.sub("", wanted.filename)
    others = [file for file in wanted.additional_files or () if stem == wanted.filename or SPLIT.sub("", file) != stem]
    if others:
        yield f"{place}.additional_files: {', '.join(others)} will not be fetched; only the parts of a model are."
    for key in ("cache_dir", "local_dir"):
        if getattr(wanted, key) is not None:
            yield f"{place}.{key} has no effect: models are kept in the Hub's cache, which HF_HUB_CACHE moves."
