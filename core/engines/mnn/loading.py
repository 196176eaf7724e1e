"""From a folder to a model at work: the LLM, its twins, sizes."""

from __future__ import annotations

from typing import Final

import numpy as np

from core.chat.sources import TemplateChoice
from core.contract.artifact import Artifact
from core.contract.models import ModelSpec, Tokenizer
from core.contract.options import LoadOptions, LoadProgress
from core.engines.hf_tokenizer import JsonTokenizer
from core.engines.mnn import folder as folders
from core.engines.mnn.folder import MnnFolder
from core.engines.mnn.lanes import KvLane
from core.engines.mnn.model import MnnModel
from core.engines.mnn.native import Llm, capture_output
from core.engines.mnn.tokenizer import MnnTokenizer
from core.errors import ArtifactError, Cancelled, EngineFailed, LoadFailed
from core.hardware import describe_machine, measure_available_memory
from core.models.fit.sizing import DEFAULT_CONTEXT_TOKENS, choose_sizes

CHUNK_TOKENS: Final = 64
"""Tokens of a step at most. MNN holds the interpreter's lock while it computes, and all else in this process waits."""
RESIDENT_SEQUENCES: Final = 4
"""Sequences beyond the running ones; each has a KV cache of its own."""
FLOAT_BYTES: Final = 4
"""Bytes of a number in the KV cache."""
PLAIN: Final = {"precision": "high", "memory": "high"}
"""Full precision: weights are widened when they are loaded, and no kernel quantizes what it multiplies."""


def load_model(artifact: Artifact, options: LoadOptions, progress: LoadProgress) -> MnnModel:
    """Raises ArtifactError for damaged files, LoadFailed for what MNN does not run, Cancelled."""
    folder = folders.read_folder(artifact)
    controls = folder.controls()
    _go_on(artifact, progress, 0.1)
    llm = Llm.create(artifact.name, folder.path / "config.json", _settings(folder, options))
    _go_on(artifact, progress, 0.8)
    vocabulary = _try(folder, llm)
    file = folder.path / "tokenizer.json"
    tokenizer: Tokenizer = (
        JsonTokenizer(artifact.name, file, ends=controls.ends)
        if file.is_file()
        else MnnTokenizer(llm, controls, vocabulary)
    )
    spec = _describe(folder, options)
    twins = [llm.twin(artifact.name, folder.graph.name) for _ in range(spec.sequences - 1)]
    for twin in twins:
        _try(folder, twin)
    _go_on(artifact, progress, 1.0)
    return MnnModel([KvLane(each) for each in (llm, *twins)], tokenizer, spec)


def _go_on(artifact: Artifact, progress: LoadProgress, share: float) -> None:
    if not progress(share):
        raise Cancelled(f"Loading {artifact.name} was stopped.")


def _settings(folder: MnnFolder, options: LoadOptions) -> dict[str, object]:
    """Over config.json: the cache outlives a pass, nothing speculates or maps files behind our back."""
    plain = {} if options.repacks else PLAIN
    return {
        "tokenizer_file": folder.tokenizer.name,
        "backend_type": "cpu",
        "thread_num": _threads(options),
        "reuse_kv": True,
        "all_logits": False,
        "use_mmap": False,
        "kvcache_mmap": False,
        "speculative_type": "",
        "chunk": 0,
        **plain,
    }


def _threads(options: LoadOptions) -> int:
    return options.threads or options.batch_threads or describe_machine().cores


def _try(folder: MnnFolder, llm: Llm) -> int:
    """Compute a few tokens in both ways, which also lays out the graphs of both. Returns the width of the logits.

    Raises ArtifactError for logits that are no numbers or all the same, as missing weights make them.
    """
    try:
        with capture_output():
            passes = [llm.forward([0, 0], 0), llm.forward([0], 2), llm.forward([0, 0], 0, every=True)]
    except EngineFailed as error:
        raise LoadFailed(folder.name, f"{folder.name} loads but does not run: {error}") from error
    if any(not np.isfinite(rows).all() or not np.ptp(rows) for rows in passes):
        raise ArtifactError(
            folder.name, f"{folder.name} computes nothing of sense: {folder.weights} is damaged; download it again."
        )
    if len(passes[0]) != 1 or len(passes[2]) != 2:
        raise LoadFailed(
            folder.name, f"The graph {folder.graph} does not choose its logits; export it with a newer llmexport."
        )
    return int(passes[0].shape[-1])


def _describe(folder: MnnFolder, options: LoadOptions) -> ModelSpec:
    token_bytes = FLOAT_BYTES * folder.kv_elements
    trained = folder.trained_context or options.ctx_size or DEFAULT_CONTEXT_TOKENS
    sizes = choose_sizes(options, trained, token_bytes, measure_available_memory())
    templates = folder.choose_templates(options)
    return ModelSpec(
        architecture=folder.architecture,
        parameters=0,
        quantization=folder.quantization,
        context=sizes.context,
        trained_context=trained,
        slots=sizes.slots,
        sequences=sizes.slots + RESIDENT_SEQUENCES,
        cells=sizes.cells,
        batch=max(sizes.slots, min(options.step_tokens, CHUNK_TOKENS)),
        threads=_threads(options),
        weight_bytes=folder.weight_bytes,
        kv_bytes_per_token=token_bytes,
        template=templates.usual,
        tool_template=templates.with_tools,
        bos=folder.special("bos"),
        eos=folder.special("eos"),
        sampling=folder.sampling,
        notes=(*_notes(folder, templates, options), *sizes.notes),
    )


def _notes(folder: MnnFolder, templates: TemplateChoice, options: LoadOptions) -> tuple[str, ...]:
    notes = ["MNN computes one sequence after another, and everything else in this program waits for each step."]
    if folder.trained_context is None:
        notes.append("The folder does not tell what context the model was trained on; see --ctx-size.")
    if not folder.kv_elements:
        notes.append("The folder does not tell how large its KV cache is, so the context was not fitted to the memory.")
    if templates.usual is None:
        notes.append("The folder has no chat template; ChatML is used.")
    if options.kv_type is not None:
        notes.append("MNN chooses the type of its KV cache itself; --kv-type has no effect on it.")
    return tuple(notes)
