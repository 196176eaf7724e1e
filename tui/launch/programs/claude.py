"""Claude Code, over Anthropic's Messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tui.launch.program import PATIENCE_MILLISECONDS, Endpoint, Launchable, LaunchSetup, Overlay, UserFiles

TIERS: Final = (
    "ANTHROPIC_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_FABLE_MODEL",
    "CLAUDE_CODE_SUBAGENT_MODEL",
)
"""Every model that it would ask for."""
QUIET: Final = {
    # What differs with each request and stands at the head of the prompt.
    "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
    "CLAUDE_CODE_TOTAL_TOKENS_REMINDER": "off",
    "CLAUDE_CODE_ENABLE_TOKEN_USAGE_ATTACHMENT": "0",
    # What goes elsewhere.
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
    "CLAUDE_CODE_ENABLE_TELEMETRY": "0",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_AUTOUPDATER": "1",
    # A stream that is given up would be asked for again as a whole, and computed twice.
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
}
ELSEWHERE: Final = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_UNIX_SOCKET",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_GATEWAY",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_VERTEX",
)
MOST_IDLE_MILLISECONDS: Final = 1_800_000
"""It waits no longer for the next byte, whatever it is told."""
OWN_THINGS: Final = ("settings.json", "CLAUDE.md", "agents", "commands", "output-styles", "rules", "skills")


def configure_claude(endpoint: Endpoint, folder: Path, user: UserFiles) -> LaunchSetup:
    """A configuration folder of its own with the user's settings, instructions and skills, but without the account."""
    own = user.find_folder("CLAUDE_CONFIG_DIR", ".claude")
    state = own if user.environment.get("CLAUDE_CONFIG_DIR") else user.home
    environment = {
        "ANTHROPIC_BASE_URL": endpoint.url,
        "ANTHROPIC_AUTH_TOKEN": endpoint.any_key,
        **dict.fromkeys(TIERS, endpoint.model),
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(endpoint.context),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(endpoint.answer_tokens),
        "API_TIMEOUT_MS": str(PATIENCE_MILLISECONDS),
        "CLAUDE_STREAM_IDLE_TIMEOUT_MS": str(PATIENCE_MILLISECONDS),
        "CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS": str(MOST_IDLE_MILLISECONDS),
        **QUIET,
        "CLAUDE_CONFIG_DIR": str(folder / "claude"),
    }
    return LaunchSetup(
        environment,
        # Settings of the user and of a project may set variables, too; these come behind them.
        arguments=("--settings", str(folder / "settings.json")),
        removed=ELSEWHERE,
        files={
            "settings.json": json.dumps({"env": environment}, indent=2),
            "claude/.claude.json": Overlay(
                state / ".claude.json",
                {
                    "hasCompletedOnboarding": True,
                    "oauthAccount": None,
                    "primaryApiKey": None,
                    "customApiKeyResponses": None,
                },
            ),
        },
        copies={f"claude/{name}": own / name for name in OWN_THINGS},
    )


CLAUDE: Final = Launchable(
    name="claude",
    title="Claude Code",
    command="claude",
    install="npm install -g @anthropic-ai/claude-code",
    least_context=24_576,
    usual_context=65_536,
    configure=configure_claude,
)
