"""Folders with a genai_config.json, run by the library onnxruntime-genai. Cheap to import: the library comes with
`load`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, Final

from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Availability
from core.contract.models import ModelSpec, TokenModel
from core.contract.options import KvType, LoadOptions, LoadProgress, ignore_progress
from core.engines.installed import Package, check_packages
from core.engines.onnx.folder import ModelFolder
from core.engines.undivided import explain_undivided
from core.errors import ArtifactError, Cancelled, LoadFailed
from core.requests import Sampling

MEND: Final = "uv sync --extra genai"
BUILDS: Final = ("onnxruntime-genai-cuda", "onnxruntime-genai-directml")
WITHOUT: Final = "The package onnxruntime, which onnxruntime-genai loads, is not installed."
PACKAGES: Final = (
    Package("onnxruntime_genai", "onnxruntime-genai", MEND, builds=BUILDS),
    # Without it, importing the other would end the process.
    Package("onnxruntime", "onnxruntime", MEND, WITHOUT),
)
FOREIGN: Final = ("encoder", "vision", "speech", "embedding")
"""Parts of a model that reads more than text."""


class GenaiEngine:
    """onnxruntime-genai, on the execution providers that a folder names."""

    name = "onnxruntime-genai"
    platform = "any"
    formats = ("onnx-genai",)
    priority = 31

    def availability(self) -> Availability:
        return check_packages(*PACKAGES)

    def list_devices(self) -> Sequence[str]:
        """What this build has; a folder names which of them its model runs on."""
        native = import_module("onnxruntime_genai")

        there = {"CUDA": native.is_cuda_available(), "DirectML": native.is_dml_available(), "CPU": True}
        return [name for name, is_here in there.items() if is_here]

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        """One thread; the graph is run as its maker optimised it."""
        return None if options.threads == 1 else replace(options, threads=1, batch_threads=1)

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> TokenModel:
        from core.engines.hf_tokenizer import JsonTokenizer
        from core.engines.onnx.genai_model import GenaiModel, open_library

        folder = GenaiFolder(artifact)
        folder.refuse_foreign()
        tokenizer = JsonTokenizer(artifact.name, folder.tokenizer, begin=folder.begin, ends=folder.ends)
        _go_on(artifact, progress, 0.1)
        threads = _threads(options)
        native = open_library(artifact.name, folder.root, threads, choose_providers(folder, options), options.main_gpu)
        _go_on(artifact, progress, 0.9)
        model = GenaiModel(artifact.name, native, tokenizer, describe_model(folder, options, threads))
        _go_on(artifact, progress, 1.0)
        return model


class GenaiFolder(ModelFolder):
    """The folder as genai_config.json tells it; tokenizer and template lie there as elsewhere."""

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The object `model`, whose `eos_token_id` is as in other configurations."""
        found = self.read("genai_config.json", needed=True)
        model = found.get("model")
        if not isinstance(model, dict) or not isinstance(model.get("decoder"), dict):
            raise ArtifactError(
                self.name, f"The file genai_config.json of {self.name} describes no decoder; download the folder again."
            )
        return model

    @property
    def decoder(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.config["decoder"]
        return found

    @property
    def architecture(self) -> str:
        return str(self.config.get("type") or "unknown")

    @property
    def sampling(self) -> Sampling:
        """What the makers recommend where they want sampling, which the library itself does not do unasked."""
        search = self.read("genai_config.json", needed=True).get("search")
        if not isinstance(search, dict) or search.get("do_sample") is not True:
            return Sampling()
        default = Sampling()
        return Sampling(
            temperature=_number(search, "temperature", default.temperature),
            top_k=int(_number(search, "top_k", default.top_k)),
            top_p=_number(search, "top_p", default.top_p),
            repeat_penalty=_number(search, "repetition_penalty", default.repeat_penalty),
        )

    @property
    def providers(self) -> tuple[str, ...]:
        """Those that the folder names, apart from the processor."""
        session = self.decoder.get("session_options")
        listed = session.get("provider_options") if isinstance(session, dict) else None
        return tuple(name for each in listed or () if isinstance(each, dict) for name in each)

    @property
    def bytes_of_graphs(self) -> int:
        return sum(file.stat().st_size for file in self.root.glob("*.onnx*") if file.is_file())

    def refuse_foreign(self) -> None:
        """Raises LoadFailed for a model of several parts."""
        found = [part for part in FOREIGN if part in self.config]
        if found:
            raise LoadFailed(self.name, f"{self.name} has a part {found[0]!r}; only models of text alone run here.")


def choose_providers(folder: GenaiFolder, options: LoadOptions) -> tuple[str, ...]:
    """Those of the folder, or none but the processor where accelerators are to be left idle."""
    return () if options.gpu_layers == 0 else folder.providers


def describe_model(folder: GenaiFolder, options: LoadOptions, threads: int) -> ModelSpec:
    """Raises ArtifactError where the configuration lacks a number."""
    from core.hardware import measure_available_memory
    from core.models.fit.sizing import DEFAULT_CONTEXT_TOKENS, choose_sizes, count_token_bytes

    trained = _count(folder, folder.config, "context_length") or DEFAULT_CONTEXT_TOKENS
    counts = (_count(folder, folder.decoder, key) for key in ("num_hidden_layers", "num_key_value_heads", "head_size"))
    layers, heads, width = counts
    # Which type the cache has is the graph's secret; this is the largest.
    token_bytes = count_token_bytes(layers, heads, width, width, KvType.F32)
    notes = ["Each request computes its whole prompt: the library cannot share what it has computed."]
    if options.kv_type is not None:
        notes.append("The graph chooses the type of its KV cache; --kv-type has no effect on it.")
    if options.ctx_size is not None and options.ctx_size > trained:
        notes.append(f"The context is {trained} tokens, not {options.ctx_size}: the folder allows no more.")
    asked = replace(options, ctx_size=min(options.ctx_size, trained) if options.ctx_size else None)
    sizes = choose_sizes(asked, trained, token_bytes, measure_available_memory(), weights=folder.bytes_of_graphs)
    templates = folder.choose_templates(options)
    return ModelSpec(
        architecture=folder.architecture,
        parameters=0,
        quantization="",
        context=sizes.context,
        trained_context=trained,
        slots=sizes.slots,
        sequences=sizes.slots + 1,
        cells=sizes.cells,
        batch=sizes.batch,
        threads=threads,
        weight_bytes=folder.bytes_of_graphs,
        kv_bytes_per_token=token_bytes,
        template=templates.usual,
        tool_template=templates.with_tools,
        bos=folder.special("bos"),
        eos=folder.special("eos"),
        sampling=folder.sampling,
        notes=(
            f"Execution providers: {', '.join((*choose_providers(folder, options), 'CPU'))}.",
            *explain_undivided("onnxruntime-genai", options),
            *notes,
            *sizes.notes,
        ),
    )


def _count(folder: GenaiFolder, source: Mapping[str, Any], key: str) -> int:
    value = source.get(key)
    if not isinstance(value, int) or value < 1:
        raise ArtifactError(
            folder.name, f"The file genai_config.json of {folder.name} has no {key}; download the folder again."
        )
    return value


def _number(source: Mapping[str, Any], key: str, default: float) -> float:
    value = source.get(key)
    return float(value) if isinstance(value, int | float) else default


def _threads(options: LoadOptions) -> int:
    from core.hardware import describe_machine

    return options.threads or options.batch_threads or describe_machine().cores


def _go_on(artifact: Artifact, progress: LoadProgress, share: float) -> None:
    if not progress(share):
        raise Cancelled(f"Loading {artifact.name} was stopped.")
