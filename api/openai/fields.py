"""Fields that clients of OpenAI and of its imitators send, and that nothing here reads; see `api.http.field_rules`.

They were gathered from OpenAI's reference and from llama-server, vLLM, SGLang, TGI, LM Studio, Ollama, LiteLLM,
OpenRouter, Open WebUI, Continue, Cline, LangChain and guidellm. Their values are those at which the field does nothing.
"""

from __future__ import annotations

from typing import Final

from api.http.field_rules import Rules, allow_only, drop_field

OFF: Final = allow_only(False)
ZERO: Final = allow_only(0)
EMPTY: Final = allow_only("", [], {})
NO_LIST: Final = allow_only([])

_CHANGE_NO_ANSWER: Final[Rules] = {
    # Telemetry and accounting
    "metadata": drop_field({}),
    "moderation": drop_field(),
    "safety_identifier": drop_field(""),
    "store": drop_field(False),
    "user": drop_field(""),
    "request_id": drop_field(""),
    "trace_id": drop_field(""),
    "session_id": drop_field(""),
    "chat_id": drop_field(""),
    "id": drop_field(""),
    "usage": drop_field({}),
    "verbose": drop_field(False),
    # Caches, slots and scheduling
    "prompt_cache_key": drop_field(""),
    "prompt_cache_options": drop_field({}),
    "prompt_cache_retention": drop_field(""),
    "cache_control": drop_field({}),
    "id_slot": drop_field(-1),
    "slot_id": drop_field(-1),
    "keep_alive": drop_field(""),
    "ttl": drop_field(0),
    "kv_transfer_params": drop_field({}),
    "n_cache_reuse": drop_field(0),
    "sse_ping_interval": drop_field(),
    # Nobody bounds the time of a prompt by it, llama.cpp's own server neither.
    "t_max_prompt_ms": drop_field(-1, 0),
    # A full context ends an answer here, so there is nothing to keep or to shift.
    "n_keep": drop_field(0),
    "n_discard": drop_field(0),
    "shift": drop_field(),
    "truncate": drop_field(False),
    "num_ctx": drop_field(),
    # Guessing ahead never changes what is written.
    "prediction": drop_field(),
    "draft_model": drop_field(""),
    "speculative": drop_field({}),
    "speculative.n_max": drop_field(),
    "speculative.n_min": drop_field(),
    "speculative.p_min": drop_field(),
    "backend_sampling": drop_field(False),
    "parallel_tool_calls": drop_field(),
    "max_tool_calls": drop_field(),
    "parse_tool_calls": drop_field(),
    "reasoning_control": drop_field(False),
    "web_search_options": drop_field(),
    "plugins": drop_field([]),
    "tool_ids": drop_field([]),
    "tool_servers": drop_field([]),
    # The choice of a provider, and what its client keeps for itself
    "provider": drop_field({}),
    "providers": drop_field([]),
    "transforms": drop_field([]),
    "route": drop_field(""),
    "models": drop_field([]),
    "fallbacks": drop_field([]),
    "background_tasks": drop_field({}),
    "features": drop_field({}),
    "filter_ids": drop_field([]),
    "model_item": drop_field({}),
    "variables": drop_field({}),
    "drop_params": drop_field(),
    "num_retries": drop_field(0),
    "timeout": drop_field(0),
    # Wishes that no answer here is wrong without
    "verbosity": drop_field("medium"),
    "include_reasoning": drop_field(True),
    "separate_reasoning": drop_field(False),
    "stream_reasoning": drop_field(),
    "mm_processor_kwargs": drop_field({}),
    "details": drop_field(False),
    # Parts of samplers that are off
    "mirostat_tau": drop_field(),
    "mirostat_eta": drop_field(),
    "dynatemp_exponent": drop_field(),
    "dry_base": drop_field(),
    "dry_allowed_length": drop_field(),
    "dry_penalty_last_n": drop_field(),
    "dry_sequence_breakers": drop_field(),
    "xtc_threshold": drop_field(),
    "adaptive_decay": drop_field(),
    "length_penalty": drop_field(1),
    "early_stopping": drop_field(False),
    "spaces_between_special_tokens": drop_field(True),
}

_CHANGE_THE_ANSWER: Final[Rules] = {
    # Another way to draw tokens
    "mirostat": ZERO,
    "dynatemp_range": ZERO,
    "dry_multiplier": ZERO,
    "xtc_probability": ZERO,
    "adaptive_target": allow_only(-1),
    "tfs_z": allow_only(1),
    "tfs": allow_only(1),
    "top_a": ZERO,
    "top_n_sigma": allow_only(-1, 0),
    "epsilon_cutoff": ZERO,
    "eta_cutoff": ZERO,
    "smoothing_factor": ZERO,
    "penalty_alpha": ZERO,
    "no_repeat_ngram_size": ZERO,
    "guidance_scale": allow_only(1),
    "penalize_nl": OFF,
    "min_keep": ZERO,
    "sampler_seed": allow_only(-1),
    "do_sample": allow_only(True, instead="send a `temperature` of 0 for the likeliest token"),
    "use_beam_search": OFF,
    "watermark": OFF,
    "logits_processors": NO_LIST,
    "logits_processor_args": allow_only({}),
    "allowed_token_ids": allow_only(),
    "bad_words": NO_LIST,
    "bad_words_ids": NO_LIST,
    "lora": NO_LIST,
    "adapter_id": allow_only(""),
    # Answers of a certain form
    "grammar_lazy": OFF,
    "grammar_triggers": NO_LIST,
    "preserved_tokens": NO_LIST,
    "guided_decoding_backend": allow_only(""),
    "guided_whitespace_pattern": allow_only(""),
    "structural_tag": EMPTY,
    "response_fields": NO_LIST,
    # Where an answer ends
    "stop_token_ids": NO_LIST,
    "include_stop_str_in_output": OFF,
    "no_stop_trim": OFF,
    "max_time": ZERO,
    # Another prompt
    "add_generation_prompt": allow_only(True),
    "continue_final_message": allow_only(False, "none"),
    "add_special_tokens": OFF,
    "chat_template": allow_only(""),
    "chat_template_content_format": allow_only("", "auto"),
    "documents": NO_LIST,
    "files": NO_LIST,
    "images": NO_LIST,
    "system": allow_only(""),
    "suffix": allow_only(""),
    "raw": OFF,
    "truncate_prompt_tokens": allow_only(),
    "truncation": allow_only("", "disabled"),
    "thinking_forced_open": OFF,
    "thinking_budget": allow_only(-1),
    "reasoning_budget": allow_only(-1),
    "reasoning_budget_tokens": allow_only(-1),
    "thinking_budget_tokens": allow_only(-1),
    "reasoning": allow_only({}, instead="send `reasoning_effort`"),
    "thinking": allow_only({}, instead="send `enable_thinking`"),
    "reasoning_format": allow_only("", "none", "auto"),
    # Something else beside the text
    "echo": OFF,
    "prompt_logprobs": allow_only(),
    "input_logprobs": OFF,
    "n_probs": allow_only(0, instead="send `logprobs` and `top_logprobs`"),
    "top_n_tokens": ZERO,
    "post_sampling_probs": allow_only(False, instead="send it to /completion"),
    "decoder_input_details": OFF,
    "return_full_text": OFF,
    "return_tokens": OFF,
    "return_token_ids": OFF,
    "return_tokens_as_token_ids": OFF,
    "return_hidden_states": OFF,
    "return_routed_experts": OFF,
    "skip_special_tokens": allow_only(True),
    "detokenize": allow_only(True),
    # Boxes of further fields
    "extra_body": allow_only({}, instead="send its fields beside the others"),
    "options": allow_only({}, instead="send its fields beside the others"),
    "params": allow_only({}, instead="send its fields beside the others"),
    "custom_params": allow_only({}),
    "vllm_xargs": allow_only({}),
}

_READ_IN_CHATS: Final = frozenset(
    {
        *("parallel_tool_calls", "parse_tool_calls", "add_generation_prompt", "continue_final_message"),
        "reasoning_control",
        *("reasoning", "thinking", "thinking_budget", "reasoning_budget", "reasoning_budget_tokens"),
        *("thinking_budget_tokens", "reasoning_format", "include_reasoning", "separate_reasoning"),
    }
)

CHAT: Final[Rules] = {
    **{name: rule for name, rule in {**_CHANGE_NO_ANSWER, **_CHANGE_THE_ANSWER}.items() if name not in _READ_IN_CHATS},
    "modalities": allow_only([], ["text"]),
    "audio": allow_only(),
}

COMPLETION: Final[Rules] = {
    **{
        name: rule
        for name, rule in {**_CHANGE_NO_ANSWER, **_CHANGE_THE_ANSWER}.items()
        if name not in ("echo", "suffix")
    },
    # There is no template around the prompt, and so nothing that these could reach
    "chat_template_kwargs": drop_field({}),
    "enable_thinking": drop_field(),
    "reasoning_effort": drop_field(""),
    "think": drop_field(),
    "tools": NO_LIST,
    "tool_choice": allow_only("", "none", "auto"),
    "top_logprobs": allow_only(0, instead="send `logprobs`"),
    "messages": allow_only([], instead="send it to /v1/chat/completions"),
}
"""Of requests whose prompt stands as it is."""

_READ_IN_NATIVE: Final = frozenset({"n_probs", "post_sampling_probs", "response_fields", "return_tokens"})

NATIVE: Final[Rules] = {
    **{name: rule for name, rule in COMPLETION.items() if name not in _READ_IN_NATIVE},
    "suffix": allow_only("", instead="ask /infill"),
    "echo": OFF,
    "logprobs": allow_only(False, 0, instead="send `n_probs`"),
}
"""Of llama.cpp's own requests for text."""

EXTRA_FILE: Final[Rules] = {"time": drop_field()}
"""What editors keep of a file for themselves."""

BOXED_PROMPT: Final[Rules] = {"multimodal_data": NO_LIST}

TOKENS: Final[Rules] = {
    "user": drop_field(""),
    "messages": allow_only([], instead="send the text of /apply-template"),
    "add_generation_prompt": allow_only(True),
    "return_token_strs": allow_only(False, instead="send `with_pieces`"),
}

MESSAGE: Final[Rules] = {
    "audio": allow_only(),
    "images": NO_LIST,
    "files": NO_LIST,
    "attachments": NO_LIST,
    "annotations": drop_field([]),
    "cache_control": drop_field({}),
    "created": drop_field(),
    "created_at": drop_field(),
    "encrypted_content": drop_field(""),
    "id": drop_field(""),
    "is_error": drop_field(False),
    "metadata": drop_field({}),
    "model": drop_field(""),
    "phase": drop_field(""),
    "provider_specific_fields": drop_field({}),
    "reasoning_details": drop_field([]),
    "reasoning_text": drop_field(""),
    "status": drop_field(""),
    "thinking": drop_field(""),
    "thinking_blocks": drop_field([]),
    "timestamp": drop_field(),
    "weight": drop_field(),
}
"""Templates read nothing of this."""

CALL: Final[Rules] = {
    "index": drop_field(),
    "cache_control": drop_field({}),
    "caller": drop_field({}),
    "extra_content": drop_field({}),
    "metadata": drop_field({}),
    "provider_specific_fields": drop_field({}),
    "status": drop_field(""),
    "thought_signature": drop_field(""),
}
"""Of a tool call in a message."""

FUNCTION: Final[Rules] = {
    "annotations": drop_field({}),
    "cache_control": drop_field({}),
    "defer_loading": drop_field(False),
    "examples": drop_field([]),
    "input_examples": drop_field([]),
    "metadata": drop_field({}),
    "output_schema": drop_field({}),
    "response": drop_field({}),
    "return": drop_field({}),
    "returns": drop_field({}),
    "title": drop_field(""),
    "type": drop_field(""),
}
"""Of a function that may be called."""

TOOL: Final[Rules] = {
    "cache_control": drop_field({}),
    "defer_loading": drop_field(False),
    "eager_input_streaming": drop_field(False),
    "metadata": drop_field({}),
    "provider_options": drop_field({}),
    "strict": drop_field(False),
}
TOOL_CHOICE: Final[Rules] = {"disable_parallel_tool_use": OFF}
REASONING: Final[Rules] = {"summary": drop_field(""), "generate_summary": drop_field("")}
THINKING: Final[Rules] = {"clear_thinking": drop_field(), "display": drop_field("")}

PART: Final[Rules] = {
    "annotations": drop_field([]),
    "cache_control": drop_field({}),
    "citations": drop_field([]),
    "id": drop_field(""),
    "logprobs": drop_field([]),
    "metadata": drop_field({}),
    "prompt_cache_breakpoint": drop_field({}),
    "provider_options": drop_field({}),
}

STREAM_OPTIONS: Final[Rules] = {"include_obfuscation": drop_field(False), "chunk_include_usage": drop_field(False)}

EMBEDDINGS: Final[Rules] = {
    **{
        name: _CHANGE_NO_ANSWER[name]
        for name in (
            "user",
            "metadata",
            "keep_alive",
            "ttl",
            "request_id",
            "timeout",
            "num_ctx",
            "provider",
        )
    },
    "priority": drop_field(0),
    "add_special_tokens": allow_only(True),
    "embd_normalize": allow_only(2),
    "embedding_type": allow_only("", "float"),
    "extra_body": allow_only({}),
    "input_type": drop_field(""),
    "normalize": allow_only(True),
    "options": allow_only({}),
    "output_dtype": allow_only("", "float"),
    "prompt_name": allow_only(""),
    "task": drop_field(""),
    "truncation_direction": allow_only("", "right", "Right"),
}

MODEL: Final[Rules] = {
    "keep_alive": drop_field(""),
    "ttl": drop_field(0),
    "user": drop_field(""),
    "metadata": drop_field({}),
}
"""Of the routes that load a model or fetch one."""

_SPOKEN: Final[Rules] = {
    "user": drop_field(""),
    "metadata": drop_field(""),
    "chunking_strategy": drop_field("", "auto"),
    "include": drop_field(""),
    "include[]": drop_field(""),
    "seed": drop_field(""),
    "vad_filter": drop_field("", "false"),
    "known_speaker_names[]": allow_only(""),
    "known_speaker_references[]": allow_only(""),
    "diarize": allow_only("", "false"),
    "hotwords": allow_only(""),
    "to_language": allow_only("", "en"),
    "temperature_inc": drop_field(""),
    "no_speech_thold": drop_field(""),
    "top_p": allow_only("", "1", "1.0"),
    "top_k": allow_only("", "0", "-1"),
    "min_p": allow_only("", "0", "0.0"),
    "frequency_penalty": allow_only("", "0", "0.0"),
    "presence_penalty": allow_only("", "0", "0.0"),
    "repetition_penalty": allow_only("", "1", "1.0"),
}

TRANSCRIPTION: Final[Rules] = {**_SPOKEN, "translate": allow_only("", "false")}
TRANSLATION: Final[Rules] = {
    **_SPOKEN,
    "stream": allow_only("", "false", "0"),
    "timestamp_granularities": allow_only(""),
    "timestamp_granularities[]": allow_only(""),
}
