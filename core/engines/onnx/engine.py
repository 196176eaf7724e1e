"""Loads ONNX decoders with onnxruntime, on the best execution provider that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Availability
from core.contract.models import Embedder, ModelSpec, Reranker, TokenModel
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.engines.installed import Package, check_packages
from core.engines.undivided import explain_undivided
from core.errors import ArtifactError, Cancelled, EngineFailed, LoadFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnxruntime  # type: ignore[import-untyped]

    from core.engines.hf_tokenizer import JsonTokenizer
    from core.engines.onnx.batching import Batching
    from core.engines.onnx.folder import ModelFolder, Variant
    from core.engines.onnx.graph import Graph
    from core.engines.onnx.pooling import Recipe
    from core.engines.onnx.sentence import OnnxEmbedder, SentenceGraph

BUILDS: Final = ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
PACKAGE: Final = Package("onnxruntime", "onnxruntime", "uv pip install onnxruntime", builds=BUILDS)
CPU: Final = "CPUExecutionProvider"
PROVIDERS: Final = (
    "TensorrtExecutionProvider",
    "CUDAExecutionProvider",
    "DmlExecutionProvider",
    "CoreMLExecutionProvider",
    "OpenVINOExecutionProvider",
    CPU,
)
"""In this order, as far as they are there."""
NUMBERED: Final = frozenset({"TensorrtExecutionProvider", "CUDAExecutionProvider", "DmlExecutionProvider"})
"""Those that take the number of a card."""
LIMITED: Final = "CUDAExecutionProvider"
"""The one that takes a limit of a card's memory."""
Provider = tuple[str, dict[str, str]]
"""Its name and its settings, as onnxruntime takes them."""
DAMAGED: Final = frozenset({"InvalidProtobuf", "NoSuchFile", "InvalidGraph", "NoModel"})
"""onnxruntime's errors that speak of the file, not of what this build can do."""
RESIDENT_SEQUENCES: Final = 8
"""Sequences beyond the running ones. Unlike llama.cpp's they share no memory once they differ."""
EMBEDDER_SLOTS: Final = 32
"""Requests for vectors that are computed side by side."""
ACCELERATOR_FACTOR: Final = 16
"""Times as many tokens in a pass of an embedder as on a processor."""
MOST_LOGITS_BYTES: Final = 256 << 20
"""Bytes of logits that a prefill chunk may make, where the graph gives those of every token."""


class OnnxEngine:
    """onnxruntime on CPU, and on whatever accelerator the installed build has."""

    name = "onnxruntime"
    platform = "any"
    formats = ("onnx", "onnx-embedder", "onnx-reranker")
    state_format = "BTO1"
    priority = 30

    def availability(self) -> Availability:
        return check_packages(PACKAGE)

    def list_devices(self) -> Sequence[str]:
        return [_shorten(provider) for provider, _ in _choose_providers(LoadOptions())]

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        """First the graph as it is written, without fused and re-ordered kernels; then one thread."""
        if options.repacks:
            return replace(options, extra_buffers=False)
        if options.threads != 1:
            return replace(options, threads=1, batch_threads=1)
        return None

    def load(
        self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress
    ) -> TokenModel | Embedder | Reranker:
        if artifact.format == "onnx-embedder":
            return _embedder(artifact, options, progress)
        if artifact.format == "onnx-reranker":
            return _reranker(artifact, options, progress)
        return _decoder(artifact, options, progress)


def _decoder(artifact: Artifact, options: LoadOptions, progress: LoadProgress) -> TokenModel:
    from core.engines.hf_tokenizer import JsonTokenizer
    from core.engines.onnx.batching import measure_batching
    from core.engines.onnx.folder import ModelFolder
    from core.engines.onnx.graph import Graph
    from core.engines.onnx.model import OnnxModel

    folder = ModelFolder(artifact)
    providers = _choose_providers(options)
    variant, others = folder.variant(accelerated=providers[0][0] != CPU)
    tokenizer = JsonTokenizer(artifact.name, folder.tokenizer, begin=folder.begin, ends=folder.ends)
    _go_on(artifact, progress, 0.1)
    graph = Graph(artifact.name, _session(artifact, variant, options, providers), options.main_gpu or 0)
    _go_on(artifact, progress, 0.9)
    try:
        batching = measure_batching(graph)
    except EngineFailed as error:
        raise LoadFailed(artifact.name, f"{artifact.name} loads but does not run: {error}") from error
    spec = _describe(folder, variant, graph, tokenizer, options)
    spec = replace(spec, notes=(*_notes(variant, others, graph, batching, options), *spec.notes))
    _go_on(artifact, progress, 1.0)
    return OnnxModel(graph, tokenizer, spec, batching)


def _embedder(artifact: Artifact, options: LoadOptions, progress: LoadProgress) -> Embedder:
    from core.engines.hf_tokenizer import JsonTokenizer
    from core.engines.onnx.folder import ModelFolder
    from core.engines.onnx.pooling import read_recipe
    from core.engines.onnx.sentence import OnnxEmbedder, SentenceGraph, find_token_limits

    folder = ModelFolder(artifact)
    recipe = read_recipe(folder, options.pooling)
    providers = _choose_providers(options)
    variant, others = folder.variant(accelerated=providers[0][0] != CPU)
    tokenizer = JsonTokenizer(artifact.name, folder.tokenizer)
    _go_on(artifact, progress, 0.1)
    graph = SentenceGraph(artifact.name, _session(artifact, variant, options, providers))
    if recipe.unfinished and not graph.pooled:
        raise LoadFailed(
            artifact.name,
            f"{artifact.name} has a step {recipe.unfinished[0]} behind its graph, which this engine cannot do; "
            "export it with an output sentence_embedding.",
        )
    if graph.pooled and options.pooling is not None:
        raise LoadFailed(
            artifact.name, f"The graph of {artifact.name} pools by itself, which no --pooling changes; leave it out."
        )
    _go_on(artifact, progress, 0.9)
    spec = _describe_encoder(folder, variant, others, graph, options, find_token_limits(folder, recipe))
    try:
        model = OnnxEmbedder(graph, tokenizer, recipe, spec)
    except EngineFailed as error:
        raise LoadFailed(artifact.name, f"{artifact.name} loads but does not run: {error}") from error
    model.spec = replace(spec, notes=(*spec.notes, *_vectors(model, graph, recipe)))
    _go_on(artifact, progress, 1.0)
    return model


def _reranker(artifact: Artifact, options: LoadOptions, progress: LoadProgress) -> Reranker:
    from core.engines.hf_tokenizer import JsonTokenizer
    from core.engines.onnx.cross_encoder import OnnxReranker, count_labels, find_score, is_bounded
    from core.engines.onnx.folder import ModelFolder
    from core.engines.onnx.pooling import Recipe
    from core.engines.onnx.sentence import SentenceGraph, find_token_limits

    folder = ModelFolder(artifact)
    labels = count_labels(folder.config)
    if labels > 1:
        raise LoadFailed(
            artifact.name, f"{artifact.name} sorts texts into {labels} classes, and does not tell how well one answers."
        )
    providers = _choose_providers(options)
    variant, others = folder.variant(accelerated=providers[0][0] != CPU)
    tokenizer = JsonTokenizer(artifact.name, folder.tokenizer)
    _go_on(artifact, progress, 0.1)
    session = _session(artifact, variant, options, providers)
    graph = SentenceGraph(artifact.name, session, find_score)
    _go_on(artifact, progress, 0.9)
    spec = _describe_encoder(folder, variant, others, graph, options, find_token_limits(folder, Recipe()))
    try:
        model = OnnxReranker(graph, tokenizer, spec, bounded=is_bounded(artifact.name, session))
    except EngineFailed as error:
        raise LoadFailed(artifact.name, f"{artifact.name} loads but does not run: {error}") from error
    if not model.batched:
        one_by_one = "This graph gives a pair another score beside others than alone, so pairs are computed one by one."
        model.spec = replace(spec, notes=(*spec.notes, one_by_one))
    _go_on(artifact, progress, 1.0)
    return model


def _describe_encoder(
    folder: ModelFolder,
    variant: Variant,
    others: tuple[str, ...],
    graph: SentenceGraph,
    options: LoadOptions,
    limits: tuple[int, int],
) -> ModelSpec:
    """`limits`: tokens of a text, as the makers say and as the positions allow."""
    usual, most = limits
    context = min(options.ctx_size or usual, most)
    return ModelSpec(
        architecture=folder.architecture,
        parameters=variant.parameters,
        quantization=variant.quantization,
        context=context,
        trained_context=most,
        slots=options.slots or EMBEDDER_SLOTS,
        sequences=0,
        cells=0,
        batch=max(options.step_tokens, context) * (1 if graph.providers[0] == CPU else ACCELERATOR_FACTOR),
        threads=_threads(options),
        weight_bytes=variant.size,
        kv_bytes_per_token=0,
        template=None,
        notes=(*_about(variant, others, graph.providers), *explain_undivided("onnxruntime", options)),
    )


def _vectors(model: OnnxEmbedder, graph: SentenceGraph, recipe: Recipe) -> Iterator[str]:
    """What a user should know about an embedder."""
    if graph.pooled:
        how = f"pooled by the graph, {'normalised' if recipe.normalize else 'as it gives them'}"
    else:
        how = f"{recipe.words}{', as is usual: the folder does not say' if recipe.assumed else ''}"
    yield f"Vectors of {model.width} numbers: {how}."
    if not model.batched:
        yield "This graph gives a text another vector beside others than alone, so texts are computed one by one."


def _choose_providers(options: LoadOptions) -> list[Provider]:
    """Those of this build, the best one first; the processor alone where accelerators are to be left idle."""
    import onnxruntime

    present = set(onnxruntime.get_available_providers())
    chosen = [CPU] if options.gpu_layers == 0 else [each for each in PROVIDERS if each in present]
    return [set_provider(each, options) for each in chosen]


def set_provider(name: str, options: LoadOptions) -> Provider:
    """A provider with the card that it is to use, and what it may take of that one's memory."""
    settings: dict[str, str] = {}
    if name in NUMBERED and options.main_gpu is not None:
        settings["device_id"] = str(options.main_gpu)
    limit = dict(options.device_memory).get(f"CUDA{options.main_gpu or 0}")
    if name == LIMITED and limit is not None:
        # By itself its arena doubles with each step, and would reach a limit long before the model needs it.
        settings |= {"gpu_mem_limit": str(limit), "arena_extend_strategy": "kSameAsRequested"}
    return name, settings


def _shorten(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider")


def _go_on(artifact: Artifact, progress: LoadProgress, share: float) -> None:
    if not progress(share):
        raise Cancelled(f"Loading {artifact.name} was stopped.")


def _session(
    artifact: Artifact, variant: Variant, options: LoadOptions, providers: list[Provider]
) -> onnxruntime.InferenceSession:
    """With the providers named, or on the processor where those fail."""
    import onnxruntime

    from core.engines.onnx.graph import ERRORS, FATAL_LEVEL, explain_error

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = FATAL_LEVEL
    settings.intra_op_num_threads = _threads(options)
    levels = onnxruntime.GraphOptimizationLevel
    settings.graph_optimization_level = levels.ORT_ENABLE_ALL if options.repacks else levels.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(variant.path), settings, providers=providers)
    except ERRORS as error:
        if type(error).__name__ in DAMAGED:
            raise ArtifactError(
                artifact.name,
                f"The graph {variant.path} cannot be read: {explain_error(error)}. "
                "It may be damaged; download it again.",
            ) from error
        if len(providers) > 1:
            return _session(artifact, variant, options, [(CPU, {})])
        raise LoadFailed(artifact.name, f"onnxruntime will not run {artifact.name}: {explain_error(error)}.") from error


def _threads(options: LoadOptions) -> int:
    from core.hardware import describe_machine

    return options.threads or options.batch_threads or describe_machine().cores


def _describe(
    folder: ModelFolder, variant: Variant, graph: Graph, tokenizer: JsonTokenizer, options: LoadOptions
) -> ModelSpec:
    from core.hardware import measure_available_memory
    from core.models.fit.sizing import DEFAULT_CONTEXT_TOKENS, choose_sizes, count_token_bytes

    heads, width = graph.shapes[0]
    token_bytes = count_token_bytes(graph.layers, heads, width, width, graph.kv_type)
    trained = folder.trained_context(options.ctx_size or DEFAULT_CONTEXT_TOKENS)
    notes: tuple[str, ...] = ()
    if options.ctx_size is not None and options.ctx_size > trained:
        notes = (f"The context is {trained} tokens, not {options.ctx_size}: the graph knows no later positions.",)
        options = replace(options, ctx_size=trained)
    sizes = choose_sizes(options, trained, token_bytes, measure_available_memory(), weights=variant.size)
    vocabulary = graph.vocabulary or tokenizer.size
    templates = folder.choose_templates(options)
    bound = sizes.batch if graph.limits_logits else max(1, MOST_LOGITS_BYTES // (4 * vocabulary))
    return ModelSpec(
        architecture=folder.architecture,
        parameters=variant.parameters,
        quantization=variant.quantization,
        context=sizes.context,
        trained_context=trained,
        slots=sizes.slots,
        sequences=sizes.slots + RESIDENT_SEQUENCES,
        cells=sizes.cells,
        batch=max(sizes.slots, min(sizes.batch, bound)),
        threads=_threads(options),
        weight_bytes=variant.size,
        kv_bytes_per_token=token_bytes,
        kv_type=graph.kv_type,
        template=templates.usual,
        tool_template=templates.with_tools,
        bos=folder.special("bos"),
        eos=folder.special("eos"),
        sampling=folder.sampling,
        notes=(*notes, *sizes.notes),
    )


def _notes(
    variant: Variant, others: tuple[str, ...], graph: Graph, batching: Batching, options: LoadOptions
) -> tuple[str, ...]:
    from core.engines.onnx.batching import Batching

    notes = [*_about(variant, others, graph.providers), *explain_undivided("onnxruntime", options)]
    if batching in (Batching.EQUAL, Batching.NONE):
        what = "sequences of equal length" if batching is Batching.EQUAL else "no two sequences"
        notes.append(f"This graph computes {what} together, so many streams are slower than they could be.")
    if options.kv_type not in (None, graph.kv_type):
        notes.append(f"The graph keeps its KV cache in {graph.kv_type.value}; --kv-type has no effect on it.")
    return tuple(notes)


def _about(variant: Variant, others: tuple[str, ...], providers: tuple[str, ...]) -> tuple[str, str]:
    also = f"; {', '.join(others)} is there too" if others else ""
    return (
        f"The graph is {variant.path.name} ({variant.quantization}){also}.",
        f"Execution providers: {', '.join(map(_shorten, providers))}.",
    )
