"""The plainest greedy loop of mlx-lm, and of onnxruntime: what each does when nothing stands around it.

mlx-lm has a generate loop of its own. onnxruntime has none for such folders; here it is a run a token with the KV
cache bound where it lies, as its documentation shows for IO binding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.report import PROMPT


def mlx_rate(folder: Path, tokens: int, threads: int) -> float:
    """Tokens a second from the first token to the last. mlx takes its threads from the machine."""
    import mlx.core as mx
    from mlx_lm import load
    from mlx_lm.generate import generate_step

    model, tokenizer, *_ = load(str(folder))
    prompt = mx.array(tokenizer.encode(PROMPT))
    times = [time.perf_counter() for _ in generate_step(prompt, model, max_tokens=tokens)]
    return (tokens - 1) / (times[-1] - times[0])


def onnx_rate(folder: Path, tokens: int, threads: int) -> float:
    """Tokens a second from the first token to the last."""
    import onnxruntime  # type: ignore[import-untyped]
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "onnx" / "model.onnx"), options)
    pasts = [each for each in session.get_inputs() if each.name.startswith("past_key_values")]
    state = [
        onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32))
        for each in pasts
    ]
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(PROMPT).ids
    times, length = [], 0
    for _ in range(tokens):
        binding = session.io_binding()
        binding.bind_cpu_input("input_ids", np.array([ids], np.int64))
        binding.bind_cpu_input("attention_mask", np.ones((1, length + len(ids)), np.int64))
        binding.bind_cpu_input("position_ids", np.arange(length, length + len(ids), dtype=np.int64)[None])
        binding.bind_cpu_input("num_logits_to_keep", np.array(1, np.int64))
        for each, value in zip(pasts, state, strict=True):
            binding.bind_ortvalue_input(each.name, value)
        binding.bind_output("logits", "cpu")
        for each in pasts:
            binding.bind_output(each.name.replace("past_key_values", "present"), "cpu")
        session.run_with_iobinding(binding)
        logits, *state = binding.get_outputs()
        length += len(ids)
        ids = [int(logits.numpy()[0, -1].argmax())]
        times.append(time.perf_counter())
    return (tokens - 1) / (times[-1] - times[0])


LOOPS: dict[str, Callable[[Path, int, int], Any]] = {"mlx": mlx_rate, "onnxruntime": onnx_rate}
