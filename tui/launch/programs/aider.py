"""aider, over chat completions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tui.launch.program import PATIENCE_SECONDS, Endpoint, Launchable, LaunchSetup, Mirror, UserFiles

QUIET: Final = {
    "AIDER_ANALYTICS": "false",
    "AIDER_CHECK_UPDATE": "false",
    "AIDER_GITIGNORE": "false",
    "AIDER_SHOW_MODEL_WARNINGS": "false",
    "AIDER_SHOW_RELEASE_NOTES": "false",
    # Otherwise the prices of all models are fetched.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


def configure_aider(endpoint: Endpoint, folder: Path, user: UserFiles) -> LaunchSetup:
    """All stands in the environment, but for the size of the context. What it keeps of itself goes into a home folder
    of links; what it writes into the project is its work."""
    model = f"openai/{endpoint.model}"
    known = {
        model: {
            "max_input_tokens": endpoint.context,
            "max_output_tokens": endpoint.answer_tokens,
            "max_tokens": endpoint.answer_tokens,
            "input_cost_per_token": 0,
            "output_cost_per_token": 0,
            "litellm_provider": "openai",
            "mode": "chat",
        }
    }
    return LaunchSetup(
        {
            "OPENAI_API_BASE": endpoint.base_url,
            "OPENAI_API_KEY": endpoint.any_key,
            "AIDER_MODEL": model,
            "AIDER_WEAK_MODEL": model,
            "AIDER_EDITOR_MODEL": model,
            "AIDER_MODEL_METADATA_FILE": str(folder / "models.json"),
            "AIDER_MAX_CHAT_HISTORY_TOKENS": str(endpoint.context // 4),
            "AIDER_TIMEOUT": str(PATIENCE_SECONDS),
            **QUIET,
            "HOME": str(folder / "home"),
        },
        removed=("AIDER_OPENAI_API_BASE", "AIDER_OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID"),
        files={"models.json": json.dumps(known, indent=2)},
        mirrors={"home": Mirror(user.home, ".aider")},
    )


AIDER: Final = Launchable(
    name="aider",
    title="aider",
    command="aider",
    install="uv tool install --python 3.12 aider-chat",
    least_context=8192,
    usual_context=32_768,
    configure=configure_aider,
)
