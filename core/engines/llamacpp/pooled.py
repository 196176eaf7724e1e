"""Makes an embedder or a reranker of a GGUF model that was opened, as its header or the options say."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

import llama_cpp as native
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.models import ModelSpec
from core.contract.options import LoadOptions, Pooling
from core.engines.llamacpp.adapters import add_adapters
from core.engines.llamacpp.embedder import LlamaEmbedder
from core.engines.llamacpp.native_log import LlamaLog
from core.engines.llamacpp.placing import list_placed, write_offloading
from core.engines.llamacpp.reranker import LlamaReranker
from core.engines.llamacpp.spec import TEMPLATE_KEY, GgufMetadata, describe_quantization, has_devices
from core.engines.llamacpp.tokenizer import LlamaTokenizer
from core.errors import LoadFailed, MemoryShort
from core.hardware import describe_machine, measure_available_memory
from core.models.fit.pooled import PooledSizes, choose_pooled_sizes
from core.models.fit.sizing import MOST_SEQUENCES
from core.models.formats.gguf_header import read_gguf
from core.models.formats.gguf_pooling import NUMBERS, find_pooling, is_encoder
from core.models.formats.source import FileSource

SLOTS: Final = 32
"""Requests that are computed side by side."""
RANK_TEMPLATE: Final = f"{TEMPLATE_KEY}.rerank"
SOFTMAX: Final = ("qwen3", "qwen3vl")
"""Architectures for which llama.cpp makes a probability of two labels (`build_pooling`)."""
HEAD: Final = "cls"
"""How the names of the tensors of a head for ranking begin."""


def read_pooling(model: native.llama_model_p, options: LoadOptions) -> Pooling | None:
    """How a model is to pool; None for one that generates text."""
    if options.pooling is not None:
        return options.pooling
    metadata = GgufMetadata(model)
    architecture = metadata.text("general.architecture")
    return find_pooling(architecture, metadata.integer(f"{architecture}.pooling_type"))


def make_pooled_model(
    artifact: Artifact,
    model: native.llama_model_p,
    options: LoadOptions,
    pooling: Pooling,
    said: LlamaLog,
) -> LlamaEmbedder | LlamaReranker:
    """Takes the model over once it returns. `said`: by llama.cpp since loading began. Raises LoadFailed."""
    tokenizer = LlamaTokenizer(model)
    metadata = GgufMetadata(model)
    architecture = metadata.text("general.architecture")
    ranks = pooling is Pooling.RANK
    if ranks:
        _refuse_unranking(artifact, model, architecture)
    trained = native.llama_model_n_ctx_train(model)
    weights = native.llama_model_size(model)
    sizes = choose_pooled_sizes(
        options,
        trained,
        tokenizer.size,
        measure_available_memory(),
        weights=weights,
        accelerated=has_devices(options),
    )
    width = native.llama_model_n_cls_out(model) if ranks else native.llama_model_n_embd_out(model)
    told = options.pooling is not None or metadata.integer(f"{architecture}.pooling_type") in NUMBERS
    spec = ModelSpec(
        architecture=architecture,
        parameters=native.llama_model_n_params(model),
        quantization=describe_quantization(model),
        context=sizes.context,
        trained_context=trained,
        slots=options.slots or SLOTS,
        sequences=0,
        cells=0,
        batch=sizes.batch,
        threads=options.batch_threads or options.threads or describe_machine().cores,
        weight_bytes=weights,
        kv_bytes_per_token=0,
        template=None,
        notes=(*sizes.notes, _explain(pooling, width, told=told)),
    )
    with ExitStack() as undo:
        context = _make_context(artifact, model, options, spec, sizes, pooling, said)
        undo.callback(native.llama_free, context)
        if options.adapters:
            add_adapters(artifact.name, model, context, options.adapters, said.reason)
        spec = replace(spec, buffers=said.sum_buffers(list_placed(options.placement)))
        if ranks:
            template = metadata.text(RANK_TEMPLATE)
            bounded = architecture in SOFTMAX
            made: LlamaEmbedder | LlamaReranker = LlamaReranker(
                model, context, tokenizer, spec, width=width, bounded=bounded, template=template
            )
        else:
            made = LlamaEmbedder(model, context, tokenizer, spec, width=width)
        undo.pop_all()
    return made


def _make_context(
    artifact: Artifact,
    model: native.llama_model_p,
    options: LoadOptions,
    spec: ModelSpec,
    sizes: PooledSizes,
    pooling: Pooling,
    said: LlamaLog,
) -> native.llama_context_p:
    parameters: native.llama_context_params = native.llama_context_default_params()
    parameters.embeddings = True
    parameters.pooling_type = next(number for number, each in NUMBERS.items() if each is pooling)
    parameters.n_ctx = parameters.n_batch = sizes.longest
    # Only what the last token has seen can be computed bit by bit.
    by_and_by = pooling in (Pooling.LAST, Pooling.RANK) and _looks_back(model, spec.architecture)
    parameters.n_ubatch = min(sizes.longest, options.pass_tokens) if by_and_by else sizes.longest
    parameters.n_seq_max = MOST_SEQUENCES
    parameters.n_threads = parameters.n_threads_batch = spec.threads
    parameters.kv_unified = True
    parameters.no_perf = True
    if options.flash_attention is not None:
        parameters.flash_attn_type = int(options.flash_attention)
    write_offloading(parameters, options)
    context: native.llama_context_p | None = native.llama_init_from_model(model, parameters)
    if context is None:
        sentence = (
            f"No passes of {sizes.longest} tokens could be made for {artifact.name}: {said.reason()}. "
            "Try a smaller --ctx-size."
        )
        if said.lacked_memory:
            raise MemoryShort(artifact.name, sentence, said.find_lacking(list_placed(options.placement)))
        raise LoadFailed(artifact.name, sentence)
    return context


def _looks_back(model: native.llama_model_p, architecture: str) -> bool:
    """Whether a token sees those before it alone."""
    return not is_encoder(architecture) and GgufMetadata(model).text(f"{architecture}.attention.causal") != "false"


def _refuse_unranking(artifact: Artifact, model: native.llama_model_p, architecture: str) -> None:
    """Raises LoadFailed for a model without a head that ranks: what llama.cpp took for scores would be none."""
    tensors = read_gguf(FileSource(artifact.path)).tensors
    if not any(tensor.name.startswith(HEAD) for tensor in tensors):
        raise LoadFailed(
            artifact.name, f"{artifact.name} has no head that scores texts; load it with another --pooling, or none."
        )
    labels = native.llama_model_n_cls_out(model)
    if labels != 1 and architecture not in SOFTMAX:
        raise LoadFailed(
            artifact.name, f"{artifact.name} sorts texts into {labels} classes, and does not tell how well one answers."
        )


def _explain(pooling: Pooling, width: int, *, told: bool) -> str:
    """What a user should know of what it makes."""
    if pooling is Pooling.RANK:
        return "It scores how well a text answers a question."
    assumed = "" if told else ", as is usual: the file does not say"
    return f"Vectors of {width} numbers: {pooling.value} pooling, normalised{assumed}."
