"""GGUF files of several architectures, with real headers and no weights but zeros that take no room on the disk.

python -m tests.fakes.architectures FILE prints what llama.cpp sets aside for one, in a process of its own; with `cut`
behind FILE, of a context whose layers with a window keep no more than it; with `ahead`, also of the one in which heads
that guess ahead are computed, and the states that are kept to take guesses back.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import gguf
import msgspec
import numpy as np
from msgspec import Struct

from core.guide import WEIGHTS
from core.models.fit.sizing import ROLLBACK_TOKENS

VOCABULARY, WIDTH, HIDDEN, HEADS, KV_HEADS, LENGTH = 2048, 256, 512, 8, 4, 32
CELLS, BATCH, SEQUENCES = 4096, 512, 8
TOKENIZER = ("model", "pre", "tokens", "token_type", "merges", "eos_token_id")

Pairs = dict[str, int | float | list[int]]
Tensors = Iterator[tuple[str, tuple[int, ...]]]


class Family(Struct, frozen=True):
    pairs: Pairs
    tensors: Callable[[], Tensors]


class Reserved(Struct, frozen=True):
    """MiB, as llama.cpp's log tells them."""

    kv: float
    state: float
    compute: float


COMMON: Pairs = {
    "context_length": 32_768,
    "embedding_length": WIDTH,
    "feed_forward_length": HIDDEN,
    "attention.head_count": HEADS,
    "attention.head_count_kv": KV_HEADS,
    "attention.layer_norm_rms_epsilon": 1e-6,
    "attention.key_length": LENGTH,
    "attention.value_length": LENGTH,
    "vocab_size": VOCABULARY,
    "rope.dimension_count": LENGTH,
    "block_count": 4,
}


def write(name: str, folder: Path) -> Path:
    """The header of a small model of that family, and behind it a hole where the weights belong."""
    family, path = FAMILIES[name], folder / f"{name}.gguf"
    writer = gguf.GGUFWriter(path, name)
    write_pairs(writer, family.pairs)
    size = 0
    for tensor, shape in (*_ends(), *family.tensors()):
        own = int(np.prod(shape)) * 4
        writer.add_tensor_info(tensor, list(shape), np.dtype(np.float32), own)
        size += -(-own // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, -(-path.stat().st_size // 32) * 32 + size)
    return path


def write_pairs(writer: gguf.GGUFWriter, pairs: Pairs) -> None:
    """The vocabulary of the built-in model, and these pairs of the writer's architecture."""
    fields = gguf.GGUFReader(WEIGHTS).fields
    for key in TOKENIZER:
        field = fields[f"tokenizer.ggml.{key}"]
        kind = field.types[0]
        sub_type = field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub_type)
    for key, value in pairs.items():
        if isinstance(value, list):
            writer.add_array(f"{writer.arch}.{key}", value)
        elif isinstance(value, float):
            writer.add_float32(f"{writer.arch}.{key}", value)
        else:
            writer.add_uint32(f"{writer.arch}.{key}", value)


def write_random(name: str, folder: Path) -> Path:
    """The same with random weights: nonsense to read, the same with each run."""
    path = write(name, folder)
    random = np.random.default_rng(0)
    for tensor in gguf.GGUFReader(path, "r+").tensors:
        if "norm" in tensor.name:
            tensor.data[...] = 1.0
        elif tensor.name.endswith("ssm_a"):
            tensor.data[...] = -random.uniform(0.5, 1.5, tensor.data.shape)
        else:
            tensor.data[...] = random.normal(0.0, 0.06, tensor.data.shape)
    return path


def write_foreseeing(name: str, folder: Path) -> Path:
    """One whose heads guess well: what follows a token depends on the token, and only a little on those before it, of
    which the heads know something else."""
    wavering = FORESEEING[name]
    path = write_random(name, folder)
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path, "r+").tensors}
    successors = np.random.default_rng(1).permutation(VOCABULARY)
    tensors["output.weight"][successors] = tensors["token_embd.weight"]
    for each, data in tensors.items():
        if any(part in each for part in ("attn_output", "ffn_down", "ssm_out")):
            np.multiply(data, wavering, out=data)
        if each.endswith("eh_proj.weight"):
            data[...] = np.eye(*data.shape)
    return path


def reserved(path: Path, *, cut: bool = False, ahead: bool = False) -> Reserved:
    """Load it and make a context of CELLS tokens, BATCH at a time, for SEQUENCES sequences; with `cut`, layers that
    look back a window keep no more; with `ahead`, and one for its heads. Once a process."""
    import llama_cpp as native

    lines: list[str] = []
    keep = native.llama_log_callback(lambda _, text, __: lines.append(text.decode("utf-8", "replace")))
    native.llama_backend_init()
    native.llama_log_set(keep, ctypes.c_void_p(0))
    loading = native.llama_model_default_params()
    loading.load_mtp = ahead
    model = native.llama_model_load_from_file(os.fsencode(path), loading)
    parameters = native.llama_context_default_params()
    parameters.n_ctx = CELLS
    parameters.n_batch = parameters.n_ubatch = BATCH
    parameters.n_seq_max = parameters.n_outputs_max = SEQUENCES
    parameters.kv_unified = True
    parameters.swa_full = not cut
    parameters.n_rs_seq = ROLLBACK_TOKENS if ahead else 0
    context = native.llama_init_from_model(model, parameters) if model else None
    if context is None:
        raise SystemExit("".join(lines[-5:]))
    if ahead:
        parameters.ctx_type, parameters.ctx_other = native.LLAMA_CONTEXT_TYPE_MTP, context
        native.llama_init_from_model(model, parameters)

    def told(kind: str) -> float:
        return sum(float(size) for size in re.findall(rf"{kind} buffer size = *([\d.]+)", "".join(lines)))

    return Reserved(told("KV"), told("RS"), told("compute"))


def _ends() -> Tensors:
    yield "token_embd.weight", (VOCABULARY, WIDTH)
    yield "output_norm.weight", (WIDTH,)


def _layers(*parts: Callable[[int], Tensors], count: int = 4) -> Callable[[], Tensors]:
    return lambda: (tensor for index in range(count) for part in parts for tensor in part(index))


def _attention(index: int) -> Tensors:
    b = f"blk.{index}."
    yield f"{b}attn_norm.weight", (WIDTH,)
    yield f"{b}attn_q.weight", (HEADS * LENGTH, WIDTH)
    yield f"{b}attn_k.weight", (KV_HEADS * LENGTH, WIDTH)
    yield f"{b}attn_v.weight", (KV_HEADS * LENGTH, WIDTH)
    yield f"{b}attn_output.weight", (WIDTH, HEADS * LENGTH)
    yield f"{b}ffn_norm.weight", (WIDTH,)


def _head_norms(index: int) -> Tensors:
    yield f"blk.{index}.attn_q_norm.weight", (LENGTH,)
    yield f"blk.{index}.attn_k_norm.weight", (LENGTH,)


def _after_norms(index: int) -> Tensors:
    yield f"blk.{index}.post_attention_norm.weight", (WIDTH,)
    yield f"blk.{index}.post_ffw_norm.weight", (WIDTH,)


def _feed_forward(index: int) -> Tensors:
    yield f"blk.{index}.ffn_gate.weight", (HIDDEN, WIDTH)
    yield f"blk.{index}.ffn_up.weight", (HIDDEN, WIDTH)
    yield f"blk.{index}.ffn_down.weight", (WIDTH, HIDDEN)


def _experts(index: int) -> Tensors:
    b, experts, hidden = f"blk.{index}.", 16, 384
    yield f"{b}ffn_gate_inp.weight", (experts, WIDTH)
    yield f"{b}ffn_gate_exps.weight", (experts, hidden, WIDTH)
    yield f"{b}ffn_up_exps.weight", (experts, hidden, WIDTH)
    yield f"{b}ffn_down_exps.weight", (experts, WIDTH, hidden)


def _latent(index: int) -> Tensors:
    b, rank, rope, plain, value, query = f"blk.{index}.", 64, 16, 32, 32, 48
    yield f"{b}attn_norm.weight", (WIDTH,)
    yield f"{b}attn_q_a.weight", (query, WIDTH)
    yield f"{b}attn_q_a_norm.weight", (query,)
    yield f"{b}attn_q_b.weight", (HEADS * (plain + rope), query)
    yield f"{b}attn_kv_a_mqa.weight", (rank + rope, WIDTH)
    yield f"{b}attn_kv_a_norm.weight", (rank,)
    yield f"{b}attn_k_b.weight", (HEADS, rank, plain)
    yield f"{b}attn_v_b.weight", (HEADS, value, rank)
    yield f"{b}attn_output.weight", (WIDTH, HEADS * value)
    yield f"{b}ffn_norm.weight", (WIDTH,)


def _mamba(index: int) -> Tensors:
    b, inner, state, rank, kernel = f"blk.{index}.", 512, 16, 16, 4
    yield f"{b}attn_norm.weight", (WIDTH,)
    yield f"{b}ssm_in.weight", (2 * inner, WIDTH)
    yield f"{b}ssm_conv1d.weight", (inner, kernel)
    yield f"{b}ssm_conv1d.bias", (inner,)
    yield f"{b}ssm_x.weight", (rank + 2 * state, inner)
    yield f"{b}ssm_dt.weight", (inner, rank)
    yield f"{b}ssm_dt.bias", (inner,)
    yield f"{b}ssm_a", (inner, state)
    yield f"{b}ssm_d", (inner,)
    yield f"{b}ssm_out.weight", (WIDTH, inner)


def _mamba2(index: int) -> Tensors:
    b, inner, state, group, heads, kernel = f"blk.{index}.", 512, 128, 1, 16, 4
    yield f"{b}attn_norm.weight", (WIDTH,)
    yield f"{b}ssm_in.weight", (2 * inner + 2 * group * state + heads, WIDTH)
    yield f"{b}ssm_conv1d.weight", (inner + 2 * group * state, kernel)
    yield f"{b}ssm_conv1d.bias", (inner + 2 * group * state,)
    yield f"{b}ssm_dt.bias", (heads,)
    yield f"{b}ssm_a", (heads, 1)
    yield f"{b}ssm_d", (heads, 1)
    yield f"{b}ssm_norm.weight", (group, inner // group)
    yield f"{b}ssm_out.weight", (WIDTH, inner)
    yield f"{b}ffn_norm.weight", (WIDTH,)


def _query_biases(index: int) -> Tensors:
    for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
        yield f"blk.{index}.attn_{name}.bias", (heads * LENGTH,)


def _ahead(index: int) -> Tensors:
    """Of a head that guesses ahead: from the embedding of a token and the hidden state at the one before it."""
    b = f"blk.{index}.nextn."
    yield f"{b}eh_proj.weight", (WIDTH, 2 * WIDTH)
    yield f"{b}enorm.weight", (WIDTH,)
    yield f"{b}hnorm.weight", (WIDTH,)
    yield f"{b}shared_head_norm.weight", (WIDTH,)


def _renamed(part: Callable[[int], Tensors], old: str, new: str) -> Callable[[int], Tensors]:
    return lambda index: ((name.replace(old, new), shape) for name, shape in part(index))


def _shared_experts(index: int) -> Tensors:
    b, experts, hidden = f"blk.{index}.", 4, 64
    yield f"{b}ffn_gate_inp.weight", (experts, WIDTH)
    yield f"{b}exp_probs_b.bias", (experts,)
    for name in ("gate", "up"):
        yield f"{b}ffn_{name}_exps.weight", (experts, hidden, WIDTH)
        yield f"{b}ffn_{name}_shexp.weight", (hidden, WIDTH)
    yield f"{b}ffn_down_exps.weight", (experts, WIDTH, hidden)
    yield f"{b}ffn_down_shexp.weight", (WIDTH, hidden)


def _dense_first(index: int) -> Tensors:
    return _shared_experts(index) if index >= 2 else _feed_forward(index)


def _fused_attention(index: int) -> Tensors:
    b = f"blk.{index}."
    yield f"{b}attn_norm.weight", (WIDTH,)
    yield f"{b}attn_qkv.weight", ((HEADS + 2 * KV_HEADS) * LENGTH, WIDTH)
    yield f"{b}attn_output.weight", (WIDTH, HEADS * LENGTH)
    yield f"{b}ffn_norm.weight", (WIDTH,)


def _delta_net(index: int) -> Tensors:
    b, state, groups, heads = f"blk.{index}.", 32, 4, 8
    inner, mixed = heads * state, (2 * groups + heads) * state
    yield f"{b}attn_norm.weight", (WIDTH,)
    yield f"{b}post_attention_norm.weight", (WIDTH,)
    yield f"{b}attn_qkv.weight", (mixed, WIDTH)
    yield f"{b}attn_gate.weight", (inner, WIDTH)
    yield f"{b}ssm_conv1d.weight", (mixed, 4)
    yield f"{b}ssm_dt.bias", (heads,)
    yield f"{b}ssm_a", (heads,)
    yield f"{b}ssm_beta.weight", (heads, WIDTH)
    yield f"{b}ssm_alpha.weight", (heads, WIDTH)
    yield f"{b}ssm_norm.weight", (state,)
    yield f"{b}ssm_out.weight", (WIDTH, inner)


def _gated_attention(index: int) -> Tensors:
    b = f"blk.{index}."
    yield f"{b}attn_norm.weight", (WIDTH,)
    yield f"{b}post_attention_norm.weight", (WIDTH,)
    yield f"{b}attn_q.weight", (2 * HEADS * LENGTH, WIDTH)
    yield f"{b}attn_k.weight", (KV_HEADS * LENGTH, WIDTH)
    yield f"{b}attn_v.weight", (KV_HEADS * LENGTH, WIDTH)
    yield f"{b}attn_output.weight", (WIDTH, HEADS * LENGTH)


def _qwen(index: int) -> Tensors:
    yield from _gated_attention(index) if index >= 3 else _delta_net(index)
    if index >= 3:
        yield from _head_norms(index)


def _with_heads(layers: Callable[[], Tensors], *heads: int) -> Callable[[], Tensors]:
    """An output apart from the embedding, the layers, and what makes heads of those named."""
    return lambda: iter(
        [("output.weight", (VOCABULARY, WIDTH)), *layers(), *(tensor for index in heads for tensor in _ahead(index))]
    )


def _granite(index: int) -> Tensors:
    return _attention(index) if index == 2 else _mamba2(index)


SSM: Pairs = {"ssm.conv_kernel": 4, "ssm.inner_size": 512, "ssm.time_step_rank": 16}
SCALES: Pairs = {"attention.scale": 0.1, "embedding_scale": 1.0, "residual_scale": 1.0, "logit_scale": 1.0}
MLA: Pairs = {
    "attention.head_count_kv": 1,
    "attention.key_length": 80,
    "attention.value_length": 64,
    "attention.key_length_mla": 48,
    "attention.value_length_mla": 32,
    "attention.kv_lora_rank": 64,
    "attention.q_lora_rank": 48,
    "rope.dimension_count": 16,
    "leading_dense_block_count": 4,
    "expert_count": 0,
    "expert_used_count": 0,
    "expert_shared_count": 0,
    "expert_feed_forward_length": 64,
    "expert_weights_scale": 1.0,
}
FAMILIES: Mapping[str, Family] = {
    "qwen3": Family(COMMON, _layers(_attention, _head_norms, _feed_forward)),
    "qwen3moe": Family(
        COMMON | {"expert_count": 16, "expert_used_count": 4, "expert_feed_forward_length": 384},
        _layers(_attention, _head_norms, _experts),
    ),
    "gemma3": Family(
        COMMON | {"block_count": 12, "attention.sliding_window": 512},
        _layers(_attention, _head_norms, _after_norms, _feed_forward, count=12),
    ),
    "deepseek2": Family(
        COMMON | MLA,
        lambda: iter([("output.weight", (VOCABULARY, WIDTH)), *_layers(_latent, _feed_forward)()]),
    ),
    "mamba": Family(
        COMMON | SSM | {"ssm.state_size": 16, "attention.head_count": 0, "feed_forward_length": 0}, _layers(_mamba)
    ),
    "granitehybrid": Family(
        COMMON | SSM | SCALES | {"ssm.state_size": 128, "ssm.group_count": 1, "attention.head_count_kv": [0, 0, 4, 0]},
        _layers(_granite, _feed_forward),
    ),
    # The last layer of these, or the last two, only guess ahead.
    "glm4moe": Family(
        COMMON
        | {"block_count": 4, "nextn_predict_layers": 1, "expert_count": 4, "expert_used_count": 2}
        | {"expert_feed_forward_length": 64, "expert_shared_count": 1, "expert_weights_scale": 1.0}
        | {"leading_dense_block_count": 2},
        _with_heads(
            _layers(_query_biases, _renamed(_attention, "ffn_norm", "post_attention_norm"), _dense_first),
            3,
        ),
    ),
    "mimo2": Family(
        COMMON
        | {"block_count": 5, "nextn_predict_layers": 2, "expert_feed_forward_length": 64, "expert_count": 0}
        | {"attention.sliding_window": 512, "attention.sliding_window_pattern": [1, 0, 1, 0, 0]},
        _with_heads(_layers(_fused_attention, _feed_forward, count=5), 3, 4),
    ),
    "qwen35": Family(
        COMMON
        | {"block_count": 5, "nextn_predict_layers": 1, "rope.dimension_sections": [8, 4, 4, 0]}
        | {"ssm.conv_kernel": 4, "ssm.inner_size": 256, "ssm.state_size": 32}
        | {"ssm.time_step_rank": 8, "ssm.group_count": 4},
        _with_heads(_layers(_qwen, _feed_forward, count=5), 4),
    ),
}

FORESEEING: Mapping[str, float] = {"glm4moe": 0.2, "mimo2": 0.25, "qwen35": 0.15}
"""How much what comes before counts, so that some guesses come true and some do not."""


if __name__ == "__main__":
    print(msgspec.json.encode(reserved(Path(sys.argv[1]), cut="cut" in sys.argv, ahead="ahead" in sys.argv)).decode())
