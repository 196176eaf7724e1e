"""Small models of many families, by their `config.json`: a look at what mlx_lm keeps of their tokens.

python -m tests.fakes.configurations prints, for each family of mlx_lm, the elements that each layer keeps of a token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import msgspec
from msgspec import Struct

Plain = int | float | str | bool | None
Told = Mapping[str, Plain | Sequence[Plain] | Mapping[str, object]]


class Kept(Struct, frozen=True):
    """What one layer's cache holds after a few tokens."""

    elements: int
    """Of keys and values together, for one token."""
    window: bool
    """Whether it keeps no more than a window."""


TOKENS: Final = (1, 2, 3)
BARE: Final[Told] = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 128,
    "rope_theta": 1e4,
}
BASE: Final[Told] = {**BARE, "head_dim": 16}
HEADLESS: Final[Told] = {key: value for key, value in BARE.items() if not key.endswith("_heads")}
SLIDING: Final[Told] = {**BASE, "sliding_window": 8}
GEMMA4: Final[Told] = {
    **SLIDING,
    "num_hidden_layers": 12,
    "global_head_dim": 32,
    "sliding_window_pattern": 6,
    "hidden_size_per_layer_input": 16,
    "vocab_size_per_layer_input": 64,
}
EXPERTS: Final[Told] = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}
LATENT: Final[Told] = {
    **BARE,
    "num_key_value_heads": 4,
    "kv_lora_rank": 32,
    "q_lora_rank": 32,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 8,
    "v_head_dim": 24,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "n_group": 1,
    "topk_group": 1,
}
YARN: Final[Mapping[str, object]] = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}
LONG: Final[Mapping[str, object]] = {
    "short_factor": [1.0] * 8,
    "long_factor": [1.0] * 8,
    "original_max_position_embeddings": 64,
}
CONFIGURATIONS: Final[Mapping[str, Told]] = {
    "llama": BASE,
    "gemma2": {**BASE, "query_pre_attn_scalar": 16},
    "gemma3": {
        "text_config": {**HEADLESS, "model_type": "gemma3_text", "num_hidden_layers": 7, "sliding_window": 8},
        "vocab_size": 64,
    },
    "gemma3n": {
        "text_config": {
            **SLIDING,
            "model_type": "gemma3n_text",
            "num_hidden_layers": 10,
            "num_kv_shared_layers": 5,
            "intermediate_size": [64] * 10,
            "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 2,
            "activation_sparsity_pattern": [0.0] * 10,
            "vocab_size_per_layer_input": 64,
            "hidden_size_per_layer_input": 16,
            "rope_local_base_freq": 1e4,
            "final_logit_softcapping": 30.0,
            "altup_num_inputs": 4,
            "altup_coef_clip": 120.0,
            "altup_correct_scale": True,
            "altup_active_idx": 0,
            "laurel_rank": 8,
        }
    },
    "gemma4_text": {
        **GEMMA4,
        "num_kv_shared_layers": 0,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
    },
    "gemma4_text shared": {**GEMMA4, "num_kv_shared_layers": 6, "num_global_key_value_heads": 1},
    "cohere2": SLIDING,
    "gpt_oss": {**SLIDING, "num_local_experts": 2, "num_experts_per_tok": 1},
    "olmo3": SLIDING,
    "exaone4": {**SLIDING, "sliding_window_pattern": "LLLG", "rope_scaling": None, "tie_word_embeddings": True},
    "afmoe": {
        **SLIDING,
        **EXPERTS,
        "num_shared_experts": 1,
        "num_dense_layers": 1,
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
    },
    "jamba": {
        **BARE,
        **EXPERTS,
        "num_hidden_layers": 8,
        "attn_layer_offset": 2,
        "attn_layer_period": 4,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
        "mamba_d_conv": 4,
        "mamba_d_state": 8,
        "mamba_expand": 2,
    },
    "nemotron_h": {
        **BASE,
        "hybrid_override_pattern": "M*-M",
        "attention_bias": False,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "mamba_proj_bias": False,
        "ssm_state_size": 32,
        "conv_kernel": 4,
        "n_groups": 1,
        "mlp_bias": False,
        "layer_norm_epsilon": 1e-5,
        "use_bias": False,
        "use_conv_bias": True,
    },
    "lfm2": {
        **BARE,
        "norm_eps": 1e-5,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 64,
        "block_multiple_of": 32,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": [1, 3],
    },
    "recurrent_gemma": {
        **BASE,
        "num_key_value_heads": 1,
        "num_hidden_layers": 6,
        "attention_window_size": 8,
        "attention_bias": False,
        "conv1d_width": 4,
        "logits_soft_cap": 30.0,
        "lru_width": 64,
        "block_types": ["recurrent", "recurrent", "attention"],
    },
    "qwen3_next": {
        **BASE,
        **EXPERTS,
        "full_attention_interval": 2,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "linear_conv_kernel_dim": 4,
        "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 32,
        "mlp_only_layers": [],
        "partial_rotary_factor": 0.5,
    },
    "falcon_h1": {
        **BASE,
        "attention_bias": False,
        "attention_in_multiplier": 1.0,
        "attention_out_multiplier": 1.0,
        "embedding_multiplier": 1.0,
        "key_multiplier": 1.0,
        "lm_head_multiplier": 1.0,
        "mamba_chunk_size": 8,
        "mamba_conv_bias": True,
        "mamba_d_conv": 4,
        "mamba_d_head": 16,
        "mamba_d_ssm": 64,
        "mamba_d_state": 32,
        "mamba_expand": 2,
        "mamba_n_groups": 1,
        "mamba_n_heads": 4,
        "mamba_norm_before_gate": False,
        "mamba_proj_bias": False,
        "mamba_rms_norm": False,
        "mamba_use_mlp": True,
        "mlp_bias": False,
        "mlp_multipliers": [1.0, 1.0],
        "projectors_bias": False,
        "ssm_in_multiplier": 1.0,
        "ssm_multipliers": [1.0] * 5,
        "ssm_out_multiplier": 1.0,
        "tie_word_embeddings": False,
    },
    "kimi_linear": {
        **LATENT,
        "head_dim": 16,
        "linear_attn_config": {
            "kda_layers": [1, 2, 3],
            "full_attn_layers": [4],
            "num_heads": 2,
            "head_dim": 32,
            "short_conv_kernel_size": 4,
        },
        "num_experts": 2,
        "num_experts_per_token": 1,
        "num_shared_experts": 1,
        "num_expert_group": 1,
        "model_max_length": 64,
        "moe_router_activation_func": "sigmoid",
        "moe_renormalize": True,
        "routed_scaling_factor": 1.0,
    },
    "deepseek_v2": {**LATENT, "rope_scaling": YARN},
    "deepseek_v3": LATENT,
    "deepseek_v32": {**LATENT, "index_head_dim": 32, "index_n_heads": 2, "index_topk": 8},
    "glm4_moe_lite": LATENT,
    "minicpm3": {
        **LATENT,
        "v_head_dim": 16,
        "dim_model_base": 64,
        "scale_depth": 1.4,
        "scale_emb": 12,
        "rope_scaling": LONG,
    },
    "gpt_bigcode": {
        "n_embd": 64,
        "n_layer": 2,
        "n_inner": 64,
        "n_head": 4,
        "n_positions": 64,
        "layer_norm_epsilon": 1e-5,
        "vocab_size": 64,
        "multi_query": True,
    },
    "openelm": {
        "head_dim": 16,
        "num_transformer_layers": 2,
        "model_dim": 64,
        "vocab_size": 64,
        "ffn_dim_divisor": 32,
        "num_query_heads": [4, 8],
        "num_kv_heads": [1, 2],
        "ffn_multipliers": [1.0, 1.0],
    },
}


def configuration(name: str) -> bytes:
    """The content of its config.json. What follows a space in a name tells two of one family apart."""
    return json.dumps({"model_type": name.partition(" ")[0], **CONFIGURATIONS[name]}).encode()


def kept(name: str) -> list[Kept]:
    """By cache, which only layers that keep something have."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    module = import_module(f"mlx_lm.models.{name.partition(' ')[0]}")
    model = module.Model(module.ModelArgs.from_dict(json.loads(configuration(name))))
    caches = make_prompt_cache(model)
    mx.eval(model(mx.array([TOKENS]), cache=caches))
    return [found for cache in caches if (found := _held(cache)).elements]


def _held(cache: object) -> Kept:
    from mlx_lm.models.cache import CacheList, KVCache, RotatingKVCache

    if isinstance(cache, CacheList):
        return Kept(sum(_held(each).elements for each in cache.caches), False)
    if not isinstance(cache, KVCache | RotatingKVCache):
        return Kept(0, False)
    # Shaped batch, heads, tokens, length; room is made for more tokens than there are.
    elements = sum(each.size // each.shape[2] for each in (cache.keys, cache.values) if each is not None)
    return Kept(elements, isinstance(cache, RotatingKVCache))


if __name__ == "__main__":
    print(msgspec.json.encode({name: kept(name) for name in CONFIGURATIONS}).decode())
