"""Fields that clients of OpenAI and of its imitators send, and that nothing here reads; see `api.http.field_rules`.

They were gathered from OpenAI's reference and from llama-server, vLLM, SGLang, TGI, LM Studio, Ollama, LiteLLM,
OpenRouter, Open WebUI, Continue, Cline, LangChain and guidellm. Their values are those at which the field does nothing.
"""

from __future__ import annotations

from typing import Final

from api.http.field_rules import Json, Rules, drop, only

OFF: Final = only(False)
ZERO: Final = only(0)
EMPTY: Final = only("", [], {})
NO_LIST: Final = only([])
UNCONSTRAINED: Final = only("", [], {}, instead="this server cannot constrain what a model writes yet")

_CHANGE_NO_ANSWER: Final[Rules] = {
    # Telemetry and accounting
    "metadata": drop({}),
    "moderation": drop(),
    "safety_identifier": drop(""),
    "service_tier": drop("auto", "default"),
    "store": drop(False),
    "user": drop(""),
    "request_id": drop(""),
    "trace_id": drop(""),
    "session_id": drop(""),
    "chat_id": drop(""),
    "id": drop(""),
    "usage": drop({}),
    "verbose": drop(False),
    # Caches, slots and scheduling
    "prompt_cache_key": drop(""),
    "prompt_cache_options": drop({}),
    "prompt_cache_retention": drop(""),
    "cache_salt": drop(""),
    "cache_control": drop({}),
    "id_slot": drop(-1),
    "slot_id": drop(-1),
    "keep_alive": drop(""),
    "ttl": drop(0),
    "priority": drop(0),
    "kv_transfer_params": drop({}),
    "n_cache_reuse": drop(0),
    "sse_ping_interval": drop(),
    # A full context ends an answer here, so there is nothing to keep or to shift.
    "n_keep": drop(0),
    "n_discard": drop(0),
    "shift": drop(),
    "truncate": drop(False),
    "num_ctx": drop(),
    # Guessing ahead never changes what is written.
    "prediction": drop(),
    "draft_model": drop(""),
    "speculative": drop({}),
    "speculative.n_max": drop(),
    "speculative.n_min": drop(),
    "speculative.p_min": drop(),
    "backend_sampling": drop(False),
    # Nothing is to be called, so it does not matter how.
    "parallel_tool_calls": drop(),
    "max_tool_calls": drop(),
    "parse_tool_calls": drop(),
    "web_search_options": drop(),
    "plugins": drop([]),
    "tool_ids": drop([]),
    "tool_servers": drop([]),
    # The choice of a provider, and what its client keeps for itself
    "provider": drop({}),
    "providers": drop([]),
    "transforms": drop([]),
    "route": drop(""),
    "models": drop([]),
    "fallbacks": drop([]),
    "background_tasks": drop({}),
    "features": drop({}),
    "filter_ids": drop([]),
    "model_item": drop({}),
    "variables": drop({}),
    "drop_params": drop(),
    "num_retries": drop(0),
    "timeout": drop(0),
    # Wishes that no answer here is wrong without
    "verbosity": drop("medium"),
    "include_reasoning": drop(True),
    "separate_reasoning": drop(False),
    "stream_reasoning": drop(),
    "mm_processor_kwargs": drop({}),
    "details": drop(False),
    "n_indent": drop(0),
    # Parts of samplers that are off
    "mirostat_tau": drop(),
    "mirostat_eta": drop(),
    "dynatemp_exponent": drop(),
    "dry_base": drop(),
    "dry_allowed_length": drop(),
    "dry_penalty_last_n": drop(),
    "dry_sequence_breakers": drop(),
    "xtc_threshold": drop(),
    "adaptive_decay": drop(),
    "length_penalty": drop(1),
    "early_stopping": drop(False),
    "spaces_between_special_tokens": drop(True),
}

_SAMPLERS: Final[list[Json]] = [
    *("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")
]
"""llama.cpp's own order; those that are on are applied in this order here."""

_CHANGE_THE_ANSWER: Final[Rules] = {
    # Another way to draw tokens
    "mirostat": ZERO,
    "dynatemp_range": ZERO,
    "dry_multiplier": ZERO,
    "xtc_probability": ZERO,
    "adaptive_target": only(-1),
    "tfs_z": only(1),
    "tfs": only(1),
    "top_a": ZERO,
    "top_n_sigma": only(-1, 0),
    "epsilon_cutoff": ZERO,
    "eta_cutoff": ZERO,
    "smoothing_factor": ZERO,
    "penalty_alpha": ZERO,
    "no_repeat_ngram_size": ZERO,
    "guidance_scale": only(1),
    "repetition_penalty": only(1, instead="send `repeat_penalty`, with -1 as `repeat_last_n` for the whole text"),
    "penalize_nl": OFF,
    "min_keep": ZERO,
    "samplers": only("", [], _SAMPLERS, [name for name in _SAMPLERS if name != "top_n_sigma"]),
    "sampler_seed": only(-1),
    "do_sample": only(True, instead="send a `temperature` of 0 for the likeliest token"),
    "use_beam_search": OFF,
    "watermark": OFF,
    "logits_processors": NO_LIST,
    "logits_processor_args": only({}),
    "allowed_token_ids": only(),
    "bad_words": NO_LIST,
    "bad_words_ids": NO_LIST,
    "lora": NO_LIST,
    "adapter_id": only(""),
    # Answers of a certain form
    "grammar": UNCONSTRAINED,
    "json_schema": only(instead=UNCONSTRAINED.instead),
    "grammar_lazy": OFF,
    "grammar_triggers": NO_LIST,
    "preserved_tokens": NO_LIST,
    "guided_json": UNCONSTRAINED,
    "guided_regex": UNCONSTRAINED,
    "guided_choice": UNCONSTRAINED,
    "guided_grammar": UNCONSTRAINED,
    "guided_json_object": only(False, instead=UNCONSTRAINED.instead),
    "guided_decoding_backend": only(""),
    "guided_whitespace_pattern": only(""),
    "structured_outputs": UNCONSTRAINED,
    "structural_tag": UNCONSTRAINED,
    "regex": UNCONSTRAINED,
    "ebnf": UNCONSTRAINED,
    "format": UNCONSTRAINED,
    "response_fields": NO_LIST,
    # Where an answer ends
    "stop_token_ids": NO_LIST,
    "include_stop_str_in_output": OFF,
    "no_stop_trim": OFF,
    "t_max_predict_ms": only(-1, 0),
    "max_time": ZERO,
    # Another prompt
    "add_generation_prompt": only(True),
    "continue_final_message": only(False, "none"),
    "add_special_tokens": OFF,
    "chat_template": only(""),
    "chat_template_content_format": only("", "auto"),
    "documents": NO_LIST,
    "files": NO_LIST,
    "images": NO_LIST,
    "system": only(""),
    "suffix": only(""),
    "raw": OFF,
    "truncate_prompt_tokens": only(),
    "truncation": only("", "disabled"),
    "thinking_forced_open": OFF,
    "thinking_budget": only(-1),
    "reasoning_budget": only(-1),
    "reasoning_budget_tokens": only(-1),
    "thinking_budget_tokens": only(-1),
    "reasoning": only({}, instead="send `reasoning_effort`"),
    "thinking": only({}, instead="send `enable_thinking`"),
    "reasoning_format": only("", "none", "auto"),
    # Something else beside the text
    "echo": OFF,
    "prompt_logprobs": only(),
    "input_logprobs": OFF,
    "n_probs": only(0, instead="send `logprobs` and `top_logprobs`"),
    "top_n_tokens": ZERO,
    "post_sampling_probs": OFF,
    "decoder_input_details": OFF,
    "return_full_text": OFF,
    "return_tokens": OFF,
    "return_token_ids": OFF,
    "return_tokens_as_token_ids": OFF,
    "return_hidden_states": OFF,
    "return_routed_experts": OFF,
    "skip_special_tokens": only(True),
    "detokenize": only(True),
    # Boxes of further fields
    "extra_body": only({}, instead="send its fields beside the others"),
    "options": only({}, instead="send its fields beside the others"),
    "params": only({}, instead="send its fields beside the others"),
    "custom_params": only({}),
    "vllm_xargs": only({}),
}

CHAT: Final[Rules] = {
    **_CHANGE_NO_ANSWER,
    **_CHANGE_THE_ANSWER,
    "modalities": only([], ["text"]),
    "audio": only(),
}

MESSAGE: Final[Rules] = {
    "function_call": only({}, ""),
    "audio": only(),
    "prefix": OFF,
    "partial": OFF,
    "images": NO_LIST,
    "files": NO_LIST,
    "attachments": NO_LIST,
    "annotations": drop([]),
    "cache_control": drop({}),
    "created": drop(),
    "created_at": drop(),
    "encrypted_content": drop(""),
    "id": drop(""),
    "is_error": drop(False),
    "metadata": drop({}),
    "model": drop(""),
    "phase": drop(""),
    "provider_specific_fields": drop({}),
    "reasoning": drop(""),
    "reasoning_content": drop(""),
    "reasoning_details": drop([]),
    "reasoning_text": drop(""),
    "status": drop(""),
    "thinking": drop(""),
    "thinking_blocks": drop([]),
    "timestamp": drop(),
    "tool_call_id": drop(""),
    "weight": drop(),
}
"""What a model thought in turns that are over is not told to it again; what else stands here, templates do not read."""

PART: Final[Rules] = {
    "annotations": drop([]),
    "cache_control": drop({}),
    "citations": drop([]),
    "id": drop(""),
    "logprobs": drop([]),
    "metadata": drop({}),
    "prompt_cache_breakpoint": drop({}),
    "provider_options": drop({}),
}

STREAM_OPTIONS: Final[Rules] = {"include_obfuscation": drop(False), "chunk_include_usage": drop(False)}

EMBEDDINGS: Final[Rules] = {
    **{
        name: _CHANGE_NO_ANSWER[name]
        for name in (
            "user",
            "metadata",
            "keep_alive",
            "ttl",
            "priority",
            "request_id",
            "timeout",
            "num_ctx",
            "provider",
        )
    },
    "add_special_tokens": only(True),
    "embd_normalize": only(2),
    "embedding_type": only("", "float"),
    "extra_body": only({}),
    "input_type": drop(""),
    "normalize": only(True),
    "options": only({}),
    "output_dtype": only("", "float"),
    "prompt_name": only(""),
    "task": drop(""),
    "truncation_direction": only("", "right", "Right"),
}

MODEL: Final[Rules] = {"keep_alive": drop(""), "ttl": drop(0), "user": drop(""), "metadata": drop({})}
"""Of the routes that load a model or fetch one."""

_SPOKEN: Final[Rules] = {
    "user": drop(""),
    "metadata": drop(""),
    "chunking_strategy": drop("", "auto"),
    "include": drop(""),
    "include[]": drop(""),
    "seed": drop(""),
    "vad_filter": drop("", "false"),
    "known_speaker_names[]": only(""),
    "known_speaker_references[]": only(""),
    "diarize": only("", "false"),
    "hotwords": only(""),
    "to_language": only("", "en"),
    "temperature_inc": drop(""),
    "no_speech_thold": drop(""),
    "top_p": only("", "1", "1.0"),
    "top_k": only("", "0", "-1"),
    "min_p": only("", "0", "0.0"),
    "frequency_penalty": only("", "0", "0.0"),
    "presence_penalty": only("", "0", "0.0"),
    "repetition_penalty": only("", "1", "1.0"),
}

TRANSCRIPTION: Final[Rules] = {**_SPOKEN, "translate": only("", "false")}
TRANSLATION: Final[Rules] = {
    **_SPOKEN,
    "stream": only("", "false", "0"),
    "timestamp_granularities": only(""),
    "timestamp_granularities[]": only(""),
}
