"""llama.cpp's bindings in the plainest loop there is: what an engine can do when nothing stands around it."""

from __future__ import annotations

import time
from pathlib import Path

import llama_cpp as native
import numpy as np

from tests.bench.report import PROMPT


def decode_rate(path: Path, streams: int, tokens: int, threads: int, extra_buffers: bool) -> float:
    """Greedy tokens a second over all streams, from their first tokens to the last."""
    parameters = native.llama_model_default_params()
    parameters.use_extra_bufts = extra_buffers
    model = native.llama_model_load_from_file(str(path).encode(), parameters)
    settings = native.llama_context_default_params()
    settings.n_ctx = 2048 * streams
    settings.n_batch = settings.n_ubatch = 512
    settings.n_seq_max = streams
    settings.n_threads = settings.n_threads_batch = threads
    settings.kv_unified = True
    settings.no_perf = True
    context = native.llama_init_from_model(model, settings)
    vocab = native.llama_model_get_vocab(model)
    sampler = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
    native.llama_sampler_chain_add(sampler, native.llama_sampler_init_greedy())
    batch = native.llama_batch_init(512, 0, 1)
    try:
        prompt = (native.llama_token * 512)()
        length = native.llama_tokenize(vocab, PROMPT.encode(), len(PROMPT), prompt, 512, True, True)
        last = [_prefill(context, batch, sampler, prompt[:length], stream) for stream in range(streams)]
        began = time.perf_counter()
        for position in range(length, length + tokens - 1):
            _fill(batch, last, position)
            if native.llama_decode(context, batch) != 0:
                raise RuntimeError("llama_decode failed")
            last = [native.llama_sampler_sample(sampler, context, stream) for stream in range(streams)]
        return streams * (tokens - 1) / (time.perf_counter() - began)
    finally:
        native.llama_batch_free(batch)
        native.llama_sampler_free(sampler)
        native.llama_free(context)
        native.llama_model_free(model)


def _prefill(
    context: native.llama_context_p,
    batch: native.llama_batch,
    sampler: native.llama_sampler_p,
    prompt: list[int],
    stream: int,
) -> int:
    length = len(prompt)
    batch.n_tokens = length
    np.ctypeslib.as_array(batch.token, (length,))[:] = prompt
    np.ctypeslib.as_array(batch.pos, (length,))[:] = range(length)
    np.ctypeslib.as_array(batch.n_seq_id, (length,))[:] = 1
    np.ctypeslib.as_array(batch.logits, (length,))[:] = [0] * (length - 1) + [1]
    for index in range(length):
        batch.seq_id[index][0] = stream
    if native.llama_decode(context, batch) != 0:
        raise RuntimeError("llama_decode failed")
    token: int = native.llama_sampler_sample(sampler, context, len(prompt) - 1)
    return token


def _fill(batch: native.llama_batch, last: list[int], position: int) -> None:
    count = len(last)
    batch.n_tokens = count
    np.ctypeslib.as_array(batch.token, (count,))[:] = last
    np.ctypeslib.as_array(batch.pos, (count,))[:] = position
    np.ctypeslib.as_array(batch.n_seq_id, (count,))[:] = 1
    np.ctypeslib.as_array(batch.logits, (count,))[:] = 1
    for stream in range(count):
        batch.seq_id[stream][0] = stream
