"""opencode, over chat completions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tui.launch.program import PATIENCE_MILLISECONDS, Endpoint, Launchable, LaunchSetup, Mirror, Overlay, UserFiles

PROVIDER: Final = "benchtop"
QUIET: Final = {
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_SHARE": "1",
}
KEPT: Final = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
}
"""Where it keeps its things, among those of other programs, which the commands that it runs must find as before."""

CONFIG: Final = ".config/opencode"
INSTALLED: Final = {"dependencies": {"@opencode-ai/plugin": "*"}}


def configure_opencode(endpoint: Endpoint, folder: Path, user: UserFiles) -> LaunchSetup:
    """The configuration stands in the environment, where it overrides the user's and a project's."""
    own = user.find_folder("XDG_CONFIG_HOME", ".config") / "opencode"
    model = f"{PROVIDER}/{endpoint.model}"
    config = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {
            PROVIDER: {
                "npm": "@ai-sdk/openai-compatible",
                "name": PROVIDER,
                "options": {
                    "baseURL": endpoint.base_url,
                    "apiKey": endpoint.any_key,
                    "timeout": False,
                    "headerTimeout": PATIENCE_MILLISECONDS,
                    "chunkTimeout": PATIENCE_MILLISECONDS,
                },
                "models": {
                    endpoint.model: {
                        "name": endpoint.model,
                        "tool_call": True,
                        "reasoning": True,
                        "limit": {"context": endpoint.context, "output": endpoint.answer_tokens},
                    }
                },
            }
        },
        "enabled_providers": [PROVIDER],
        "model": model,
        "small_model": model,
        "share": "disabled",
        "autoupdate": False,
    }
    return LaunchSetup(
        {
            "OPENCODE_CONFIG_CONTENT": json.dumps(config),
            **QUIET,
            **{name: str(folder / place) for name, place in KEPT.items()},
        },
        # It installs a package beside its configuration, unless it finds it in the list of what is installed.
        files={
            f"{CONFIG}/package.json": "{}",
            f"{CONFIG}/package-lock.json": Overlay(own / "package-lock.json", {"packages": {"": INSTALLED}}),
        },
        mirrors={
            **{place: Mirror(user.find_folder(name, place), "opencode") for name, place in KEPT.items()},
            f"{CONFIG}/node_modules": Mirror(own / "node_modules"),
        },
        copies={CONFIG: own},
    )


OPENCODE: Final = Launchable(
    name="opencode",
    title="opencode",
    command="opencode",
    install="npm install -g opencode-ai",
    least_context=12_288,
    usual_context=65_536,
    configure=configure_opencode,
)
