"""From a folder of safetensors to a model at work: weights, KV caches, sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import mlx.core as mx
from msgspec import Struct

from core.chat.sources import choose_templates
from core.contract.artifact import Artifact
from core.contract.models import ModelSpec
from core.contract.options import KvType, LoadOptions, LoadProgress
from core.engines.hf_tokenizer import JsonTokenizer
from core.engines.mlx import folder as folders
from core.engines.mlx.folder import MlxFolder
from core.engines.mlx.kv import WatchedKv, WatchedQuantizedKv
from core.engines.mlx.library import caches as library
from core.engines.mlx.library import list_weights, utils
from core.engines.mlx.model import MlxModel
from core.engines.mlx.trimming import TrimmingMlxModel
from core.engines.undivided import explain_undivided
from core.errors import ArtifactError, Cancelled, LoadFailed
from core.hardware import describe_machine, measure_available_memory
from core.models.fit.sizing import choose_sizes, count_token_bytes
from core.models.formats.kv_conflict import explain_single_type

UNTOLD_CONTEXT_TOKENS = 4096
"""Tokens, where a configuration does not say what the model was trained on."""
BITS: Final = {KvType.Q8_0: 8, KvType.Q4_0: 4}
GROUP_ELEMENTS = (64, 32)
"""Elements that share a scale in MLX's quantization."""
KINDS = {mx.float16: KvType.F16, mx.bfloat16: KvType.BF16, mx.float32: KvType.F32}


class FirstPass(Struct, frozen=True):
    """What a first pass over a single token has shown of a network."""

    vocabulary: int
    """Width of the logits."""
    heads: tuple[tuple[int, int, int], ...]
    """For each layer with keys and values: their heads, and the lengths of a key and of a value."""
    element: mx.Dtype
    """Of keys and values."""
    plain: bool
    """Whether every layer keeps all keys and values, and nothing else: its state can be cut anywhere."""


def load_model(artifact: Artifact, options: LoadOptions, progress: LoadProgress) -> MlxModel:
    """Raises ArtifactError for damaged files, LoadFailed for what MLX does not run, Cancelled."""
    if conflict := explain_single_type(options):
        raise LoadFailed(artifact.name, conflict)
    if options.gpu_layers == 0:
        # Of the thread that the model belongs to. Where a version of MLX has one device for all threads, other models
        # of this process compute there too from now on.
        mx.set_default_device(mx.cpu)
    folder = folders.read_folder(artifact)
    tokenizer = JsonTokenizer(artifact.name, folder.path / "tokenizer.json", begin=folder.begin, ends=folder.ends)
    network = _network(artifact, folder)
    notes = [*explain_undivided("MLX", options), *_read_weights(artifact, network, progress)]
    tried = _try(artifact, network)
    kv_type = _kv_type(artifact, tried, options.cache_type)
    spec = _describe(folder, network, tried, kv_type, options, notes)
    _wire()
    kind = TrimmingMlxModel if tried.plain else MlxModel
    return kind(network, tokenizer, spec, tried.vocabulary, _maker(network, tried, kv_type))


def _network(artifact: Artifact, folder: MlxFolder) -> Any:
    """The network with its weights still to be read from disk."""
    if folder.config.get("model_file"):
        # mlx-lm would run that file: code that came with a download.
        raise LoadFailed(artifact.name, f"{artifact.name} brings a program of its own, which is not run.")
    try:
        network, _ = utils.load_model(folder.path, lazy=True)
    except FileNotFoundError as error:
        raise ArtifactError(
            artifact.name, f"The folder {folder.path} has no model*.safetensors; download the model again."
        ) from error
    except RuntimeError as error:
        raise ArtifactError(
            artifact.name, f"The weights of {artifact.name} cannot be read: {error}; download the model again."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, ImportError, NotImplementedError) as error:
        # mlx-lm builds the network of whatever config.json says, and fails in all these ways where it does not know it.
        raise LoadFailed(
            artifact.name,
            f"mlx-lm does not run {artifact.name} (model type {folder.architecture}): {_first_line(error)}",
        ) from error
    return network


def _read_weights(artifact: Artifact, network: Any, progress: LoadProgress) -> list[str]:
    """Read the weights, told in shares; widen them where that is faster. Returns what a user should know of it."""
    notes = []
    if mx.default_device() == mx.cpu and _widened(network) < measure_available_memory():
        # On CPUs MLX multiplies halves one by one: quantized matrices are tens of times slower than in float32.
        network.set_dtype(mx.float32)
        notes.append("On the CPU, MLX computes in float32, and keeps what is not quantized so.")
    arrays = list_weights(network)
    whole, done = sum(array.nbytes for array in arrays) or 1, 0
    for array in arrays:
        if not progress(done / whole):
            raise Cancelled(f"Loading {artifact.name} was stopped.")
        try:
            mx.eval(array)
        except (RuntimeError, MemoryError) as error:
            raise LoadFailed(artifact.name, f"The weights of {artifact.name} cannot be loaded: {error}.") from error
        done += array.nbytes
    progress(1.0)
    return notes


def _wire() -> None:
    """Let Metal keep as much in memory as Apple recommends: else large models are paged out between steps."""
    if mx.metal.is_available():
        mx.set_wired_limit(int(mx.device_info()["max_recommended_working_set_size"]))


def _widened(network: Any) -> int:
    """Bytes of the weights with every fraction in float32."""
    return sum(
        array.size * 4 if mx.issubdtype(array.dtype, mx.floating) else array.nbytes for array in list_weights(network)
    )


def _try(artifact: Artifact, network: Any) -> FirstPass:
    """Compute one token: what MLX cannot run fails here, not under a request."""
    caches = library.make_prompt_cache(network)
    try:
        logits = network(mx.array([[0]]), cache=caches)
        mx.eval(logits, [cache.state for cache in caches])
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise LoadFailed(artifact.name, f"MLX cannot run {artifact.name}: {_first_line(error)}") from error
    keyed = [cache for cache in _flat(caches) if isinstance(getattr(cache, "keys", None), mx.array)]
    return FirstPass(
        vocabulary=logits.shape[-1],
        heads=tuple((cache.keys.shape[1], cache.keys.shape[3], cache.values.shape[3]) for cache in keyed),
        element=keyed[0].keys.dtype if keyed else logits.dtype,
        plain=all(type(cache) is library.KVCache for cache in caches),
    )


def _flat(caches: Sequence[Any]) -> Iterator[Any]:
    for cache in caches:
        yield from _flat(cache.caches) if isinstance(cache, library.CacheList) else [cache]


def _kv_type(artifact: Artifact, tried: FirstPass, asked: KvType) -> KvType:
    """The type asked for where it is a quantized one, else that of the network's own keys and values."""
    if asked not in BITS:
        return KINDS.get(tried.element, KvType.F16)
    if not tried.plain:
        raise LoadFailed(
            artifact.name,
            f"The KV cache of {artifact.name} cannot be quantized, since not all of its layers keep all keys and "
            "values; use --kv-type f16.",
        )
    if _group(tried) is None:
        raise LoadFailed(
            artifact.name,
            f"The heads of {artifact.name} are no multiples of {GROUP_ELEMENTS[-1]} long, so its KV cache cannot be "
            "quantized; use --kv-type f16.",
        )
    return asked


def _group(tried: FirstPass) -> int | None:
    """The largest group that divides every key and value."""
    lengths = [length for _, key, value in tried.heads for length in (key, value)]
    return next((group for group in GROUP_ELEMENTS if all(length % group == 0 for length in lengths)), None)


def _maker(network: Any, tried: FirstPass, kv_type: KvType) -> Callable[[], list[Any]]:
    """Makes empty caches, one for each layer."""
    if not tried.plain:
        return lambda: list(library.make_prompt_cache(network))
    layers = len(tried.heads)
    if kv_type in BITS:
        bits, group = BITS[kv_type], _group(tried) or GROUP_ELEMENTS[-1]
        return lambda: [WatchedQuantizedKv(group_size=group, bits=bits) for _ in range(layers)]
    return lambda: [WatchedKv() for _ in range(layers)]


def _describe(
    folder: MlxFolder,
    network: Any,
    tried: FirstPass,
    kv_type: KvType,
    options: LoadOptions,
    notes: Sequence[str],
) -> ModelSpec:
    token_bytes = sum(count_token_bytes(1, *layer, kv_type) for layer in tried.heads)
    trained = folder.trained_context or UNTOLD_CONTEXT_TOKENS
    weight_bytes = sum(array.nbytes for array in list_weights(network))
    sizes = choose_sizes(
        options, trained, token_bytes, measure_available_memory(), weights=weight_bytes, residents=tried.plain
    )
    templates = choose_templates(folder.templates, options.chat_template, folder.path.name)
    return ModelSpec(
        architecture=folder.architecture,
        parameters=int(utils.get_total_parameters(network)),
        quantization=folder.quantization,
        context=sizes.context,
        trained_context=trained,
        slots=sizes.slots,
        sequences=sizes.sequences,
        cells=sizes.cells,
        batch=sizes.batch,
        # MLX takes the threads it likes; what the options say has no effect.
        threads=describe_machine().cores,
        weight_bytes=weight_bytes,
        kv_bytes_per_token=token_bytes,
        kv_type=kv_type,
        template=templates.usual,
        tool_template=templates.with_tools,
        bos=folder.token("bos"),
        eos=folder.token("eos"),
        sampling=folder.sampling(),
        notes=(*notes, *sizes.notes, *filter(None, [kv_type.caution])),
    )


def _first_line(error: Exception) -> str:
    """The first line of an error, as the end of a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".") + "."
