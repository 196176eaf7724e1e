"""Low-rank adapters on a loaded model."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import llama_cpp as native

from core.contract.options import Lora
from core.errors import ArtifactError, LoadFailed


def add_adapters(
    name: str,
    model: native.llama_model_p,
    context: native.llama_context_p,
    loras: Sequence[Lora],
    why: Callable[[], str],
) -> None:
    """Add adapters, GGUF files made for this model; they are freed with it. `why` has llama.cpp's last complaint.

    Raises ArtifactError for a file that is not there, LoadFailed for one that does not belong to the model.
    """
    adapters = (native.llama_adapter_lora_p_ctypes * len(loras))()
    for index, lora in enumerate(loras):
        if not Path(lora.path).is_file():
            raise ArtifactError(name, f"The adapter {lora.path} of {name} is not there; check the path.")
        adapter = native.llama_adapter_lora_init(model, os.fsencode(lora.path))
        # What is null comes as a pointer object that is false.
        if not adapter:
            raise LoadFailed(
                name, f"{lora.path} is no adapter for {name}: {why()}. It must be a GGUF file made for this very model."
            )
        adapters[index] = adapter
    scales = (ctypes.c_float * len(loras))(*(lora.scale for lora in loras))
    if native.llama_set_adapters_lora(context, adapters, len(loras), scales):
        raise LoadFailed(name, f"llama.cpp does not take the adapters of {name} together; leave one out.")
