"""Loads executorch programs. Cheap to import, and torch, which executorch needs, never enters this process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.contract.artifact import Artifact
from core.contract.engine import Availability, Unavailable
from core.contract.models import ModelSpec, StreamModel
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.engines.installed import Package, check_packages
from core.errors import ArtifactError, Cancelled, EngineError, EngineFailed, LoadFailed

if TYPE_CHECKING:
    from core.chat.sources import TemplateChoice
    from core.engines.executorch.process import RuntimeProcess
    from core.engines.executorch.wire import ProgramReady
    from core.engines.hf_folder import HfFolder

MEND: Final = "uv pip install executorch 'torch>=2.13,<2.14'"
"""Not an extra: torch is by far the largest package that any engine wants, and its builds differ by accelerator."""
PACKAGES: Final = (Package("executorch", "executorch", MEND), Package("torch", "torch", MEND))
"""executorch's own package leaves torch out."""


class ExecutorchEngine:
    """executorch's runtime in a process of its own, so its faults are errors here and need no trial run."""

    name = "executorch"
    platform = "any"
    formats = ("pte",)
    priority = 25

    def availability(self) -> Availability:
        found = check_packages(*PACKAGES)
        if isinstance(found, Unavailable) and sys.platform == "win32":
            return Unavailable("executorch's package has no build for Windows.")
        return found

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> StreamModel:
        from core.engines.executorch.model import ExecutorchModel
        from core.engines.executorch.process import RuntimeProcess
        from core.engines.hf_folder import HfFolder
        from core.engines.hf_tokenizer import JsonTokenizer

        program = find_program(artifact)
        folder = HfFolder(artifact.name, program.parent)
        path = folder.tokenizer

        def launch(progress: LoadProgress = ignore_progress) -> tuple[RuntimeProcess, ProgramReady]:
            process = RuntimeProcess()
            try:
                return process, process.start(str(program), lambda: progress(0.5))
            except (EngineError, Cancelled):
                process.close()
                raise

        try:
            process, ready = launch(progress)
        except EngineFailed as error:
            raise LoadFailed(artifact.name, f"executorch cannot run {artifact.name}: {error}") from error
        except Cancelled as error:
            raise Cancelled(f"Loading {artifact.name} was stopped.") from error
        try:
            ends = {*ready.ends, *_ends(folder.generation_config), *_ends(folder.read("config.json"))}
            tokenizer = JsonTokenizer(artifact.name, path, begin=folder.begin, ends=ends)
            if tokenizer.size > ready.vocabulary:
                raise LoadFailed(
                    artifact.name,
                    f"{path.name} knows {tokenizer.size} tokens and the program {ready.vocabulary}: "
                    "they do not belong together.",
                )
            spec = describe_model(folder, program, ready, options)
        except (ArtifactError, LoadFailed):
            process.close()
            raise
        progress(1.0)
        return ExecutorchModel(spec, tokenizer, process, lambda: launch()[0])


def find_program(artifact: Artifact) -> Path:
    """The file itself, or the only program in a folder. Raises ArtifactError where it is not clear which."""
    if not artifact.path.is_dir():
        return artifact.path
    found = sorted(artifact.path.glob("*.pte"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:4]) or "none"
        raise ArtifactError(
            artifact.name, f"{artifact.name} should hold one .pte file and holds {names}; load the file itself."
        )
    return found[0]


def describe_model(folder: HfFolder, program: Path, ready: ProgramReady, options: LoadOptions) -> ModelSpec:
    context = min(options.ctx_size or ready.context, ready.context)
    templates = folder.choose_templates(options)
    return ModelSpec(
        architecture=str(folder.read("config.json").get("model_type") or "executorch"),
        parameters=0,
        quantization="",
        context=context,
        trained_context=ready.context,
        slots=1,
        sequences=1,
        cells=context,
        batch=ready.chunk,
        threads=0,
        weight_bytes=program.stat().st_size,
        kv_bytes_per_token=0,
        template=templates.usual,
        tool_template=templates.with_tools,
        bos=folder.special("bos"),
        eos=folder.special("eos"),
        sampling=folder.sampling,
        notes=tuple(_notes(templates, ready, options)),
    )


def _notes(templates: TemplateChoice, ready: ProgramReady, options: LoadOptions) -> list[str]:
    notes = ["An executorch program runs one request at a time; others wait."]
    if options.ctx_size is not None and options.ctx_size > ready.context:
        notes.append(f"The context is {ready.context} tokens, not {options.ctx_size}: it is fixed in the program.")
    if templates.usual is None:
        notes.append("No chat template lies beside the program, so conversations are written as ChatML.")
    if options.threads is not None:
        notes.append("The executorch runtime chooses its own number of threads.")
    if options.kv_type is not None:
        notes.append("The type of the KV cache is fixed in the program; --kv-type has no effect on it.")
    if ready.chunk == 1:
        notes.append("The program takes one token at a time, so long prompts are slow.")
    return notes


def _ends(source: Mapping[str, Any]) -> list[int]:
    value = source.get("eos_token_id")
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int)]
