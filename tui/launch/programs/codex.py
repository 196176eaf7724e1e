"""Codex, over OpenAI's Responses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tui.launch.program import PATIENCE_MILLISECONDS, Endpoint, Launchable, LaunchSetup, UserFiles

PROVIDER: Final = "benchtop"
KEY: Final = "CODEX_BENCHTOP_API_KEY"
"""The variable that it is told to take the key from: its command line can be seen by all users of the machine."""
COMPACT_SHARE: Final = 0.8
"""Of the context, behind which it sums up what was said."""
OWN_THINGS: Final = ("config.toml", "AGENTS.md", "prompts", "rules", "skills")


def configure_codex(endpoint: Endpoint, folder: Path, user: UserFiles) -> LaunchSetup:
    """A home of its own with the user's settings, which the arguments override."""
    provider: dict[str, str | int | bool] = {
        "name": PROVIDER,
        "base_url": endpoint.base_url,
        "wire_api": "responses",
        "supports_websockets": True,
        "stream_idle_timeout_ms": PATIENCE_MILLISECONDS,
        # A prompt that is computed is not to be asked for again.
        "stream_max_retries": 1,
    }
    if endpoint.key:
        provider["env_key"] = KEY
    settings: dict[str, str | int | bool | dict[str, str | int | bool]] = {
        "model": endpoint.model,
        "review_model": endpoint.model,
        "model_provider": PROVIDER,
        f"model_providers.{PROVIDER}": provider,
        "model_context_window": endpoint.context,
        "model_auto_compact_token_limit": int(endpoint.context * COMPACT_SHARE),
        "check_for_update_on_startup": False,
        "analytics.enabled": False,
        "feedback.enabled": False,
        "features.plugins": False,
        "features.apps": False,
    }
    own = user.find_folder("CODEX_HOME", ".codex")
    return LaunchSetup(
        {"CODEX_HOME": str(folder / "codex"), **({KEY: endpoint.key} if endpoint.key else {})},
        arguments=tuple(word for name, value in settings.items() for word in ("-c", f"{name}={_write_toml(value)}")),
        removed=("OPENAI_API_KEY", "OPENAI_BASE_URL", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN"),
        # It must be there.
        files={"codex/.benchtop": ""},
        copies={f"codex/{name}": own / name for name in OWN_THINGS},
    )


def _write_toml(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(_write_pairs(value))}}}"
    # Strings, numbers and truth are written in TOML as in JSON.
    return json.dumps(value)


def _write_pairs(table: Mapping[str, object]) -> Iterator[str]:
    return (f"{name} = {_write_toml(value)}" for name, value in table.items())


CODEX: Final = Launchable(
    name="codex",
    title="Codex",
    command="codex",
    install="npm install -g @openai/codex",
    least_context=16_384,
    usual_context=65_536,
    configure=configure_codex,
)
