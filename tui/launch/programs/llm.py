"""llm, over chat completions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tui.launch.program import Endpoint, Launchable, LaunchSetup, UserFiles

KEY: Final = "benchtop"
"""What its list of keys calls ours."""
OWN_THINGS: Final = ("aliases.json", "templates")


def configure_llm(endpoint: Endpoint, folder: Path, user: UserFiles) -> LaunchSetup:
    """A folder of its own in which the model is the default one."""
    model = {
        "model_id": endpoint.model,
        "model_name": endpoint.model,
        "api_base": endpoint.base_url,
        "api_key_name": KEY,
        "supports_tools": True,
        "supports_schema": True,
    }
    own = user.find_folder("LLM_USER_PATH", ".config/io.datasette.llm")
    return LaunchSetup(
        {"LLM_USER_PATH": str(folder / "llm"), "LLM_MODEL": endpoint.model},
        removed=("OPENAI_API_KEY",),
        files={
            # What is JSON is YAML, too.
            "llm/extra-openai-models.yaml": json.dumps([model], indent=2),
            "llm/keys.json": json.dumps({KEY: endpoint.any_key}, indent=2),
            "llm/default_model.txt": endpoint.model,
        },
        copies={f"llm/{name}": own / name for name in OWN_THINGS},
    )


LLM: Final = Launchable(
    name="llm",
    title="llm",
    command="llm",
    install="uv tool install llm",
    least_context=256,
    usual_context=16_384,
    configure=configure_llm,
)
