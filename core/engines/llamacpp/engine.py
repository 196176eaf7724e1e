"""Loads GGUF files with llama.cpp."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from core.contract.abilities import BatchSize
from core.contract.artifact import Artifact
from core.contract.engine import Availability
from core.contract.models import Embedder, ModelSpec, Reranker, TokenModel
from core.contract.options import KvElement, KvType, LoadOptions, LoadProgress, Lora, ignore_progress
from core.engines.installed import Package, check_packages
from core.engines.llamacpp.attention import PassMemory, drop_flash_attention
from core.errors import ArtifactError, Cancelled, LoadFailed, MemoryShort
from core.models.fit.sizing import GRAIN_TOKENS, ROLLBACK_TOKENS
from core.telemetry.log import get_logger

if TYPE_CHECKING:
    import llama_cpp as native

    from core.engines.llamacpp.predicting import PredictingMarkingModel, PredictingTrimmingModel
    from core.engines.llamacpp.tiles import SlowRows
    from core.engines.llamacpp.tokenizer import LlamaTokenizer

PACKAGE = Package("llama_cpp", "llama-cpp-python", "uv pip install llama-cpp-python")
GGML_TYPE_BF16 = 30
"""ggml's number for it, which the bindings do not name."""
MEMORY_DIVISOR = 64
"""The part of the machine's memory, 1 / MEMORY_DIVISOR, that a micro-batch found by measuring may take beyond the usual
one."""
log = get_logger(__name__)


class LlamaCppEngine:
    """llama.cpp on CPU, and on whatever accelerator the installed build has."""

    name = "llamacpp"
    platform = "any"
    formats = ("gguf",)
    priority = 20
    state_format = "BTS2"
    libraries = ("llama_cpp", "numpy")
    lora_format = "gguf"
    grain = GRAIN_TOKENS

    def availability(self) -> Availability:
        return check_packages(PACKAGE)

    def list_devices(self) -> Sequence[str]:
        from core.devices.listing import list_devices

        return [device.id for device in list_devices() if device.id] or ["CPU"]

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        """First without extra buffer types, whose kernels (AMX, repacking) fault on some machines; then without heads
        that guess ahead, for which llama.cpp takes much for granted; then one thread."""
        if options.repacks:
            return replace(options, extra_buffers=False)
        if options.mtp:
            return replace(options, mtp=False)
        if options.threads != 1:
            return replace(options, threads=1, batch_threads=1)
        return None

    def variants(self, artifact: Artifact, options: LoadOptions) -> list[LoadOptions]:
        """Repacked weights speed up some kernels and slow down others. Flash attention saves memory and is faster for
        prompts, and behind long ones much slower at decoding on some processors."""
        found = [options]
        if options.extra_buffers is None:
            found.append(replace(options, extra_buffers=False))
        if (plain := drop_flash_attention(artifact, options)) is not None:
            found.append(plain)
        return found

    def adapt(self, artifact: Artifact, chosen: LoadOptions, asked: LoadOptions) -> LoadOptions:
        if chosen.flash_attention is not False or asked.flash_attention is not None:
            return chosen
        usual = replace(chosen, flash_attention=None)
        return drop_flash_attention(artifact, usual) or usual

    def sizes(self, artifact: Artifact, options: LoadOptions) -> list[BatchSize]:
        """Micro-batches change what a pass finds in the processor's caches; larger batches pay where there are many
        cores, or an accelerator."""
        if options.reproducible:
            return [BatchSize(options.step_tokens, GRAIN_TOKENS)]
        from core.hardware import describe_machine
        from core.models.fit.sizing import list_batch_sizes

        passes = PassMemory(artifact, options)
        if options.pooling or passes.header.pooling:
            return [BatchSize(options.step_tokens, options.pass_tokens)]
        flash = options.flash_attention is not False
        room = passes.count_bytes(options.pass_tokens, flash=flash)
        if options.placement is None or options.placement.on_host:
            room += describe_machine().memory // MEMORY_DIVISOR
        # Else layers were placed for passes of this size: larger ones would send some of them away.
        return list_batch_sizes(options, passes.context, lambda size: passes.count_bytes(size, flash=flash) <= room)

    def measure_free(self, options: LoadOptions) -> Mapping[str, int]:
        from core.engines.llamacpp.placing import open_native_devices

        found = open_native_devices().list_reached(options, "the model")
        return {each.device.id: each.device.free for each in found}

    def load(
        self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress
    ) -> TokenModel | Embedder | Reranker:
        import llama_cpp as native

        from core.engines.llamacpp.adapters import add_adapters
        from core.engines.llamacpp.marking import MarkingLlamaModel
        from core.engines.llamacpp.model import TrimmingLlamaModel
        from core.engines.llamacpp.native_log import open_native_log
        from core.engines.llamacpp.placing import list_placed
        from core.engines.llamacpp.pooled import make_pooled_model, read_pooling
        from core.engines.llamacpp.reproducible import ReproducibleLlamaModel
        from core.engines.llamacpp.spec import describe_model
        from core.engines.llamacpp.tiles import TILE_ROWS
        from core.engines.llamacpp.tokenizer import LlamaTokenizer

        _refuse_kv_conflict(artifact, options)
        options = replace(options, mtp=_has_heads(artifact, options))
        said = open_native_log()
        said.clear()
        with ExitStack() as undo:
            model = self._open(artifact, options, progress)
            undo.callback(native.llama_model_free, model)
            if (pooling := read_pooling(model, options)) is not None:
                pooled = make_pooled_model(artifact, model, options, pooling, said)
                undo.pop_all()
                return pooled
            tokenizer = LlamaTokenizer(model)
            recurrent = native.llama_model_is_recurrent(model) or native.llama_model_is_hybrid(model)
            rigid = recurrent or (options.cuts_windows and native.llama_model_n_swa(model) > 0)
            if rigid and options.reproducible:
                raise LoadFailed(
                    artifact.name,
                    f"{artifact.name} keeps a state that cannot be cut where a reproducible answer must begin; leave "
                    f"out --reproducible{'' if recurrent else ' or --no-swa-full'}.",
                )
            spec = describe_model(artifact, model, tokenizer, options, residents=not rigid)
            parameters = _context_parameters(spec, options, rollback=recurrent and options.mtp)
            context = self._context(artifact, model, spec, parameters, options)
            undo.callback(native.llama_free, context)
            if adapters := options.adapters:
                add_adapters(artifact.name, model, context, adapters, said.reason)
                spec = replace(spec, notes=(*spec.notes, *(_adapted(lora) for lora in adapters)))
            spec = replace(spec, buffers=said.sum_buffers(list_placed(options.placement)))
            undo.pop_all()
        if options.reproducible:
            return ReproducibleLlamaModel(model, context, tokenizer, spec)
        if options.mtp and (predicting := _add_heads(model, context, tokenizer, spec, parameters, rigid=rigid)):
            if not isinstance(predicting, TrimmingLlamaModel):
                return predicting
            trimming: TrimmingLlamaModel = predicting
        elif rigid:
            return MarkingLlamaModel(model, context, tokenizer, spec)
        else:
            trimming = TrimmingLlamaModel(model, context, tokenizer, spec)
        in_tiles = options.flash_attention is not False and options.cache_type is KvType.F16
        if in_tiles and native.llama_n_ubatch(context) >= TILE_ROWS:
            trimming.slow_rows = _find_slow_rows(model, spec, options)
        return trimming

    def _open(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress) -> native.llama_model_p:
        import llama_cpp as native

        from core.engines.llamacpp.native_log import open_native_log
        from core.engines.llamacpp.placing import choose_load_mode, explain_refusal, list_placed, write_placement
        from core.hardware import measure_available_memory
        from core.models.fit.sizing import is_mapped

        said = open_native_log()
        given_up = False

        def report(share: float, _: ctypes.c_void_p) -> bool:
            nonlocal given_up
            given_up = given_up or not progress(share)
            return not given_up

        parameters = native.llama_model_default_params()
        parameters.use_extra_bufts = options.repacks
        parameters.load_mtp = options.mtp
        safe = is_mapped(artifact.path, measure_available_memory())
        parameters.load_mode = choose_load_mode(options.placement, safe=safe)
        placed = write_placement(parameters, options, artifact.name)
        parameters.progress_callback = native.llama_progress_callback(report)
        model: native.llama_model_p | None = native.llama_model_load_from_file(os.fsencode(artifact.path), parameters)
        if given_up:
            raise Cancelled(f"Loading {artifact.name} was stopped.")
        del placed
        if model is None and said.lacked_memory:
            device = said.find_lacking(list_placed(options.placement))
            raise MemoryShort(
                artifact.name,
                f"There is too little memory{f' on {device}' if device else ''} for the weights of {artifact.name}: "
                f"{said.reason()}. {_advise(device)}",
                device,
            )
        if model is None and (refusal := explain_refusal(said.reason())) is not None:
            raise LoadFailed(artifact.name, refusal)
        if model is None:
            raise ArtifactError(
                artifact.name,
                f"The file {artifact.path} cannot be loaded: {said.reason()}. "
                "It may be damaged or of an architecture this llama.cpp does not know; download it again.",
            )
        return model

    def _context(
        self,
        artifact: Artifact,
        model: native.llama_model_p,
        spec: ModelSpec,
        parameters: native.llama_context_params,
        options: LoadOptions,
    ) -> native.llama_context_p:
        import llama_cpp as native

        from core.engines.llamacpp.native_log import open_native_log
        from core.engines.llamacpp.placing import list_placed, settle_attention

        said = open_native_log()
        settle_attention(model, parameters, options)
        context: native.llama_context_p | None = native.llama_init_from_model(model, parameters)
        if context is None:
            device = said.find_lacking(list_placed(options.placement))
            where, fewer = (f" on {device}", ", or fewer --gpu-layers") if device else ("", "")
            sentence = (
                f"No context of {spec.cells} cells could be made for {artifact.name}{where}: {said.reason()}. "
                f"Try a smaller --ctx-size or fewer --slots{fewer}."
            )
            if said.lacked_memory:
                raise MemoryShort(artifact.name, sentence, device)
            raise LoadFailed(artifact.name, sentence)
        if not native.llama_get_memory(context):
            native.llama_free(context)
            raise LoadFailed(
                artifact.name,
                f"{artifact.name} ({spec.architecture}) does not write its text token by token, and llamacpp runs no "
                "such models here; for vectors of texts load it with --pooling.",
            )
        return context


def _context_parameters(spec: ModelSpec, options: LoadOptions, *, rollback: bool) -> native.llama_context_params:
    """With `rollback`, recurrent states of the last tokens are kept, so that wrong guesses can be taken back."""
    import llama_cpp as native

    from core.engines.llamacpp.placing import write_offloading
    from core.hardware import describe_machine
    from core.models.fit.sizing import count_outputs

    parameters: native.llama_context_params = native.llama_context_default_params()
    parameters.n_ctx = spec.cells
    parameters.n_batch = spec.batch
    parameters.n_ubatch = spec.grain or min(spec.batch, options.micro_batch or spec.batch)
    parameters.n_seq_max = spec.sequences
    parameters.n_threads = spec.threads
    parameters.n_threads_batch = options.batch_threads or describe_machine().cores
    # Cells of other sequences between a sequence's own change the order in which attention is summed up.
    parameters.kv_unified = spec.grain is None
    parameters.swa_full = not options.cuts_windows
    parameters.no_perf = True
    # Only what is drawn from needs logits; without this bound the output buffer is sized for a whole batch.
    parameters.n_outputs_max = count_outputs(spec)
    parameters.n_rs_seq = ROLLBACK_TOKENS if rollback else 0
    if options.flash_attention is not None or spec.grain:
        parameters.flash_attn_type = int(options.blockwise_attention)
    parameters.type_k = _ggml_type(options.cache_type.of_keys)
    parameters.type_v = _ggml_type(options.cache_type.of_values)
    write_offloading(parameters, options)
    return parameters


def _has_heads(artifact: Artifact, options: LoadOptions) -> bool:
    """Whether heads that guess ahead are to be loaded, and can be used."""
    from core.models.fit.mtp import can_use_mtp
    from core.models.formats.read import read_header

    if not options.mtp or not can_use_mtp(read_header(artifact), options):
        return False
    try:
        import llama_cpp.llama_cpp_ext  # noqa: F401
    except (ImportError, AttributeError):
        # The bindings promise neither the module nor what it looks up in the library.
        return False
    return True


def _add_heads(
    model: native.llama_model_p,
    context: native.llama_context_p,
    tokenizer: LlamaTokenizer,
    spec: ModelSpec,
    parameters: native.llama_context_params,
    *,
    rigid: bool,
) -> PredictingMarkingModel | PredictingTrimmingModel | None:
    """The model with its heads; None where llama.cpp makes no context for them, which is logged."""
    from core.engines.llamacpp.mtp import make_heads
    from core.engines.llamacpp.native_log import open_native_log
    from core.engines.llamacpp.predicting import PredictingMarkingModel, PredictingTrimmingModel

    heads = make_heads(model, context, spec, parameters)
    if heads is None:
        log.warning(
            "heads that guess ahead are not used", architecture=spec.architecture, why=open_native_log().reason()
        )
        return None
    kind = PredictingMarkingModel if rigid else PredictingTrimmingModel
    return kind(model, context, tokenizer, spec, heads)


def _refuse_kv_conflict(artifact: Artifact, options: LoadOptions) -> None:
    """Raises LoadFailed where llama.cpp would not make a context with this type of KV cache."""
    from core.models.formats.kv_conflict import explain_kv_conflict
    from core.models.formats.read import read_header

    if options.cache_type.quantized and (conflict := explain_kv_conflict(read_header(artifact), options)):
        raise LoadFailed(artifact.name, conflict)


def _find_slow_rows(model: native.llama_model_p, spec: ModelSpec, options: LoadOptions) -> SlowRows | None:
    """Of a model whose attention is computed in blocks."""
    import llama_cpp as native

    from core.engines.llamacpp.spec import GgufMetadata, has_devices
    from core.engines.llamacpp.tiles import find_slow_rows
    from core.hardware import describe_machine

    if has_devices(options):
        return None
    heads = native.llama_model_n_head(model)
    size = GgufMetadata(model).integer(f"{spec.architecture}.attention.key_length")
    return find_slow_rows(
        describe_machine().features,
        native.llama_print_system_info().decode(),
        layers=native.llama_model_n_layer(model),
        heads=heads,
        head_size=size or native.llama_model_n_embd(model) // max(1, heads),
        parameters=spec.parameters,
    )


def _advise(device: str) -> str:
    if device:
        return "Let fewer layers lie there (--gpu-layers), unload another model, or take a smaller quantization."
    return "Unload another model, or take a smaller quantization."


def _adapted(lora: Lora) -> str:
    return f"The adapter {Path(lora.path).name} is added, times {lora.scale:g}."


def _ggml_type(element: KvElement) -> int:
    import llama_cpp as native

    types: dict[KvElement, int] = {
        KvElement.F32: native.GGML_TYPE_F32,
        KvElement.F16: native.GGML_TYPE_F16,
        KvElement.BF16: GGML_TYPE_BF16,
        KvElement.Q8_0: native.GGML_TYPE_Q8_0,
        KvElement.Q4_0: native.GGML_TYPE_Q4_0,
    }
    return types[element]
