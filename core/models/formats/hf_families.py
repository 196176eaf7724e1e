"""What a `config.json` leaves out because it goes without saying for its `model_type`.

Each of these is a default or a rule of `configuration_*.py` of transformers 5.23, or of the file of that name in
mlx_lm 0.32 where it says so. Published files rely on them: that of gemma-3-4b-it tells neither heads nor pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_GEMMA3: Final = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_size": 2304,
    "num_hidden_layers": 26,
    "max_position_embeddings": 131_072,
    "vocab_size": 262_208,
}
_GEMMA3N: Final = {
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "hidden_size": 2048,
    "num_hidden_layers": 35,
    "num_kv_shared_layers": 15,
    "sliding_window": 512,
}
_GEMMA4: Final = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "global_head_dim": 512,
    "hidden_size": 2304,
    "num_hidden_layers": 30,
    "sliding_window": 512,
}
DEFAULTS: Final[Mapping[str, Mapping[str, int]]] = {
    "gemma": {"head_dim": 256},
    "gemma2": {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096},
    "gemma3": _GEMMA3,
    "gemma3n": _GEMMA3N,
    "gemma4": _GEMMA4,
    "gemma4_unified": _GEMMA4,
    "gpt_oss": {"num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64},
    "llama4": {"attention_chunk_size": 8192, "head_dim": 128, "num_attention_heads": 40, "num_key_value_heads": 8},
    "jamba": {"attn_layer_period": 8, "attn_layer_offset": 4},
    "nemotron_h": {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128},
    "qwen3_next": {"full_attention_interval": 4, "num_key_value_heads": 2, "head_dim": 256},
    "qwen3_5": {"full_attention_interval": 4, "num_key_value_heads": 4, "head_dim": 256},
    "qwen3_5_moe": {"full_attention_interval": 4, "num_key_value_heads": 2, "head_dim": 256},
    "deepseek_v32": {"index_head_dim": 128},
    "glm_moe_dsa": {"index_head_dim": 128},
}
PERIODS: Final[Mapping[str, int]] = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gemma4": 6,
    "gemma4_unified": 6,
    "cohere2": 4,
    "gpt_oss": 2,
    "exaone4": 4,
    "olmo3": 4,
    "afmoe": 4,
    "llama4": 4,
}
"""Of so many layers the last sees all tokens, and the others only a window."""
LAST_SEES_ALL: Final = frozenset({"gemma4", "gemma4_unified"})
"""The last layer does too, wherever the period ends."""
LATENT: Final = frozenset(
    {"deepseek_v3", "deepseek_v32", "kimi_k2", "kimi_k25", "kimi_vl", "kimi_linear", "kimi_k3", "glm4_moe_lite"}
    | {"glm_moe_dsa", "longcat_flash", "mistral4", "bailing_hybrid", "bailing_moe_v3"}
)
"""Multi-head latent attention of which mlx_lm keeps the latent vector and the rotated part of the key; of others that
have it (deepseek_v2, minicpm3) it keeps keys and values written out."""
TWICE: Final = frozenset({"longcat_flash"})
"""Each layer attends twice (mlx_lm)."""
STATES: Final = frozenset({"mamba", "mamba2", "falcon_mamba", "rwkv", "rwkv5", "rwkv6", "rwkv7"})
"""No layer attends."""
BESIDE: Final = frozenset({"falcon_h1"})
"""Each layer attends and keeps a state."""
OTHER_LAYERS: Final = ("mamba_", "ssm_", "conv_L", "linear_attn", "lru_", "layer_group_size", "block_configs", "hyena_")
"""Beginnings of keys that only models have of which some layers do not attend as all others do."""
