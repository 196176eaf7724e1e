"""What is told of a loaded GGUF model: by its file, by llama.cpp, and by the settings that it runs with."""

from __future__ import annotations

import ctypes

import llama_cpp as native
from msgspec.structs import replace

from core.chat.sources import DEFAULT, choose_templates
from core.contract.artifact import Artifact
from core.contract.models import ModelSpec
from core.contract.options import KvType, LoadOptions
from core.engines.llamacpp.tokenizer import LlamaTokenizer
from core.errors import ArtifactError
from core.hardware import describe_machine, measure_available_memory
from core.models.fit.sizing import GRAIN_TOKENS, choose_sizes, count_token_bytes
from core.models.formats.read import read_header
from core.requests import Sampling

TEMPLATE_KEY = "tokenizer.chat_template"
"""Of the chat template; behind a dot may follow the name of a further one."""
KEY_BYTES = 256
"""Keys that are longer are none that we look for."""


def describe_model(
    artifact: Artifact, model: native.llama_model_p, tokenizer: LlamaTokenizer, options: LoadOptions, *, residents: bool
) -> ModelSpec:
    """With the sizes of its context for the memory that is there now. `residents`: whether sequences that have ended
    stay in the KV cache. Raises ArtifactError where the header must be read and cannot, LoadFailed for a template that
    is not there."""
    metadata = GgufMetadata(model)
    architecture = metadata.text("general.architecture")
    kv_type = options.cache_type
    told = options.mtp or not residents
    token_bytes = _kv_by_header(artifact, options) if told else _kv_bytes(model, metadata, kv_type)
    weights = native.llama_model_size(model) - _unloaded_bytes(artifact, metadata, options)
    trained = native.llama_model_n_ctx_train(model)
    sizes = choose_sizes(
        options, trained, token_bytes, measure_available_memory(), weights=weights, residents=residents
    )
    templates = choose_templates(metadata.templates(), options.chat_template, artifact.name)
    return ModelSpec(
        architecture=architecture,
        parameters=native.llama_model_n_params(model),
        quantization=describe_quantization(model),
        context=sizes.context,
        trained_context=trained,
        slots=sizes.slots,
        sequences=sizes.sequences,
        cells=sizes.cells,
        batch=sizes.batch,
        threads=options.threads or describe_machine().cores,
        weight_bytes=weights,
        kv_bytes_per_token=token_bytes,
        kv_type=kv_type,
        template=templates.usual,
        tool_template=templates.with_tools,
        bos=tokenizer.special_text(native.llama_vocab_bos(tokenizer.vocab)),
        eos=tokenizer.special_text(native.llama_vocab_eos(tokenizer.vocab)),
        sampling=_recommended(metadata),
        notes=(*sizes.notes, *filter(None, [kv_type.caution])),
        grain=GRAIN_TOKENS if options.reproducible else None,
        # The kernels for accelerators leave out what is masked, or are too fast for it to matter.
        scans_all_cells=not options.reproducible and not has_devices(options),
    )


def has_devices(options: LoadOptions) -> bool:
    """Whether accelerators have a part in it."""
    if options.placement is None:
        return bool(native.llama_supports_gpu_offload())
    return not options.placement.on_host


def _kv_bytes(model: native.llama_model_p, metadata: GgufMetadata, kv: KvType) -> int:
    """Of one token, where all layers are alike."""
    architecture = metadata.text("general.architecture")
    head_size = native.llama_model_n_embd(model) // max(1, native.llama_model_n_head(model))
    return count_token_bytes(
        native.llama_model_n_layer(model),
        native.llama_model_n_head_kv(model),
        metadata.integer(f"{architecture}.attention.key_length") or head_size,
        metadata.integer(f"{architecture}.attention.value_length") or head_size,
        kv,
    )


def _kv_by_header(artifact: Artifact, options: LoadOptions) -> int:
    """Of one token, by the file's own header: llama.cpp tells the heads of the first layer, which may have none, and
    leaves out layers that guess ahead."""
    return read_header(artifact).kv_bytes_per_token(options.cache_type, mtp=options.mtp)


def _unloaded_bytes(artifact: Artifact, metadata: GgufMetadata, options: LoadOptions) -> int:
    """Of weights that the file has and llama.cpp leaves there, though it counts them: those of heads that guess ahead
    and are not used. The header is read only where there may be some."""
    if options.mtp or not metadata.integer(f"{metadata.text('general.architecture')}.nextn_predict_layers"):
        return 0
    try:
        return read_header(artifact).mtp_bytes
    except ArtifactError:
        return 0


class GgufMetadata:
    """Key-value pairs of a GGUF header, through the loaded model."""

    def __init__(self, model: native.llama_model_p) -> None:
        self._model = model

    def text(self, key: str) -> str:
        """Empty when the key is not there."""
        room = 256
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = native.llama_model_meta_val_str(self._model, key.encode(), buffer, room)
            if length < 0:
                return ""
            if length < room:
                return buffer.value.decode("utf-8", "replace")
            room = length + 1

    def templates(self) -> dict[str, str]:
        """The chat templates by their names."""
        found = {DEFAULT: text} if (text := self.text(TEMPLATE_KEY)) else {}
        buffer = ctypes.create_string_buffer(KEY_BYTES)
        for index in range(native.llama_model_meta_count(self._model)):
            length = native.llama_model_meta_key_by_index(self._model, index, buffer, KEY_BYTES)
            key = buffer.value.decode("utf-8", "replace")
            if 0 < length < KEY_BYTES and key.startswith(f"{TEMPLATE_KEY}."):
                found[key.removeprefix(f"{TEMPLATE_KEY}.")] = self.text(key)
        return found

    def integer(self, key: str) -> int | None:
        text = self.text(key)
        return int(text) if text.isdigit() else None

    def number(self, key: str) -> float | None:
        try:
            return float(self.text(key))
        except ValueError:
            return None


def _recommended(metadata: GgufMetadata) -> Sampling:
    """Sampling that the model's makers wrote into the header (`general.sampling.*`), over the defaults."""
    default = Sampling()
    temperature, top_p = metadata.number("general.sampling.temp"), metadata.number("general.sampling.top_p")
    top_k, min_p = metadata.integer("general.sampling.top_k"), metadata.number("general.sampling.min_p")
    penalty = metadata.number("general.sampling.penalty_repeat")
    return replace(
        default,
        temperature=default.temperature if temperature is None else temperature,
        top_p=default.top_p if top_p is None else top_p,
        top_k=default.top_k if top_k is None else top_k,
        min_p=default.min_p if min_p is None else min_p,
        repeat_penalty=default.repeat_penalty if penalty is None else penalty,
    )


def describe_quantization(model: native.llama_model_p) -> str:
    """llama.cpp describes a model as 'architecture size quantization', for instance 'llama 1B Q4_K - Medium'."""
    buffer = ctypes.create_string_buffer(256)
    native.llama_model_desc(model, buffer, len(buffer))
    parts = buffer.value.decode("utf-8", "replace").split(maxsplit=2)
    return parts[2] if len(parts) == 3 else "unknown"
