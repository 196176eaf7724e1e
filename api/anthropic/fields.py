"""Fields of Anthropic's Messages that nothing here reads; see `api.http.field_rules`.

They were gathered from Anthropic's reference, betas included, and from the clouds that serve its models.
"""

from __future__ import annotations

from typing import Final

from api.http.field_rules import Rules, allow_only, drop_field

_CHANGE_NO_ANSWER: Final[Rules] = {
    "anthropic_beta": drop_field([]),
    "anthropic_version": drop_field(),
    "betas": drop_field([]),
    "billing_policy": drop_field(),
    "diagnostics": drop_field({}),
    "fallback_credit_token": drop_field(""),
    "fallbacks": drop_field([], "default"),
    "inference_geo": drop_field(""),
    "service_tier": drop_field("auto", "standard_only"),
    "speed": drop_field("standard"),
    "user_profile_id": drop_field(""),
    "workspace_id": drop_field(""),
    # Tools of servers that a hosted service would ask; see `api.anthropic.translation` on those in `tools`.
    "mcp_servers": drop_field([]),
}
_CHANGE_THE_ANSWER: Final[Rules] = {
    "container": allow_only("", {}),
    "compaction": allow_only({}),
    "thread": allow_only({}),
}

MESSAGES: Final[Rules] = {**_CHANGE_NO_ANSWER, **_CHANGE_THE_ANSWER}
COUNT: Final[Rules] = {
    **MESSAGES,
    **{
        name: drop_field()
        for name in (
            *("max_tokens", "stop_sequences", "stream", "temperature", "top_k", "top_p"),
            *("min_p", "seed", "repeat_penalty", "presence_penalty", "frequency_penalty"),
            *("priority", "reproducible", "ignore_eos", "cache_prompt", "cache_salt"),
        )
    },
}
"""A count knows all that a message knows: clients send the same body to both."""

MESSAGE: Final[Rules] = {
    **{name: drop_field("") for name in ("id", "model", "stop_reason", "stop_sequence", "type")},
    **{name: drop_field({}) for name in ("usage", "container", "diagnostics", "stop_details", "context_management")},
    "parsed_output": drop_field(),
}
"""What a reply has beside `role` and `content`: clients send replies back whole."""

BLOCK: Final[Rules] = {"parsed_output": drop_field(), "toolset_name": drop_field("")}
TOOL: Final[Rules] = {
    **{
        name: drop_field()
        for name in (
            *("max_uses", "allowed_domains", "blocked_domains", "user_location", "citations", "max_content_tokens"),
            *("use_cache", "response_inclusion", "display_width_px", "display_height_px", "display_number"),
            *("enable_zoom", "max_characters", "model", "caching", "mcp_server_name", "configs", "default_config"),
        )
    },
    "eager_input_streaming": drop_field(False, True),
}
"""Of tools that a hosted service runs, and that are dropped whole."""
CACHE_CONTROL: Final[Rules] = {"scope": drop_field("")}
OUTPUT_CONFIG: Final[Rules] = {"task_budget": drop_field({})}
OUTPUT_FORMAT: Final[Rules] = {name: drop_field() for name in ("name", "description", "strict")}
