"""Qwen Code, over chat completions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tui.launch.program import PATIENCE_MILLISECONDS, Endpoint, Launchable, LaunchSetup, UserFiles

OWN_THINGS: Final = ("settings.json", "QWEN.md", "agents", "commands", "rules", "skills")


def configure_qwen(endpoint: Endpoint, folder: Path, user: UserFiles) -> LaunchSetup:
    """A home of its own with the user's settings; those of the system, which override them, are a file of ours."""
    system = {
        "$version": 3,
        "general": {"enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "security": {"auth": {"selectedType": "openai", "baseUrl": endpoint.base_url}},
        "fastModel": endpoint.model,
        "model": {
            "name": endpoint.model,
            "generationConfig": {
                "contextWindowSize": endpoint.context,
                "timeout": PATIENCE_MILLISECONDS,
                "samplingParams": {"max_tokens": endpoint.answer_tokens},
            },
        },
    }
    own = user.find_folder("QWEN_HOME", ".qwen")
    return LaunchSetup(
        {
            "OPENAI_BASE_URL": endpoint.base_url,
            "OPENAI_API_KEY": endpoint.any_key,
            "OPENAI_MODEL": endpoint.model,
            "QWEN_HOME": str(folder / "qwen"),
            "QWEN_CODE_SYSTEM_SETTINGS_PATH": str(folder / "system.json"),
            "QWEN_CODE_API_TIMEOUT_MS": str(PATIENCE_MILLISECONDS),
            "QWEN_CODE_DISABLE_PRECONNECT": "1",
            "QWEN_TELEMETRY_ENABLED": "false",
            "NO_UPDATE_NOTIFIER": "1",
        },
        arguments=("--auth-type", "openai"),
        removed=("QWEN_RUNTIME_DIR", "QWEN_MODEL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
        files={"system.json": json.dumps(system, indent=2)},
        copies={f"qwen/{name}": own / name for name in OWN_THINGS},
    )


QWEN: Final = Launchable(
    name="qwen",
    title="Qwen Code",
    command="qwen",
    install="npm install -g @qwen-code/qwen-code",
    least_context=24_576,
    usual_context=65_536,
    configure=configure_qwen,
)
