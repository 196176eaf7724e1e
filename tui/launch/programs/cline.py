"""Cline, over chat completions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tui.launch.program import PATIENCE_MILLISECONDS, Endpoint, Launchable, LaunchSetup, UserFiles

PROVIDER: Final = "openai-compatible"
OWN_THINGS: Final = ("rules", "workflows", "hooks", "skills")

FLAGS: Final[Mapping[str, object]] = {
    "version": 2,
    "updatedAt": 4_102_444_800_000,
    "userId": None,
    "flagsPayload": {"featureFlags": {}, "featureFlagPayloads": {}},
}
"""Features that its makers switch from afar: none, as of a time that has not come."""


def configure_cline(endpoint: Endpoint, folder: Path, user: UserFiles) -> LaunchSetup:
    """A data folder of its own, in which the server is the provider that was used last."""
    providers = {
        "version": 1,
        "lastUsedProvider": PROVIDER,
        "modes": {},
        "providers": {
            PROVIDER: {
                "settings": {
                    "provider": PROVIDER,
                    "apiKey": endpoint.any_key,
                    "model": endpoint.model,
                    "baseUrl": endpoint.base_url,
                    "contextWindow": endpoint.context,
                    "maxTokens": endpoint.answer_tokens,
                    "timeout": PATIENCE_MILLISECONDS,
                },
                "updatedAt": "2026-01-01T00:00:00.000Z",
                "tokenSource": "manual",
            }
        },
    }
    own = user.find_folder("CLINE_DIR", ".cline")
    return LaunchSetup(
        {
            "CLINE_DIR": str(folder / "cline"),
            "CLINE_DATA_DIR": str(folder / "cline" / "data"),
            # Without a daemon that would outlive it.
            "CLINE_SESSION_BACKEND_MODE": "local",
            "CLINE_NO_AUTO_UPDATE": "1",
            "CLINE_TELEMETRY_DISABLED": "1",
        },
        removed=("CLINE_API_KEY", "CLINE_MODEL", "CLINE_PROVIDER", "CLINE_PROVIDER_SETTINGS_PATH"),
        files={
            "cline/data/settings/providers.json": json.dumps(providers, indent=2),
            "cline/data/settings/global-settings.json": json.dumps(
                {"telemetryOptOut": True, "autoUpdateEnabled": False}, indent=2
            ),
            # So that they are not asked for.
            "cline/data/cache/feature-flags.json": json.dumps(FLAGS, indent=2),
        },
        copies={f"cline/{name}": own / name for name in OWN_THINGS},
    )


CLINE: Final = Launchable(
    name="cline",
    title="Cline",
    command="cline",
    install="npm install -g cline",
    least_context=12_288,
    usual_context=65_536,
    configure=configure_cline,
)
