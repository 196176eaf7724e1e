"""From now on a model is loaded with the engine of a row, and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from core.bench.results import Setting
from core.settings.merge import Key
from core.settings.model import ModelSettings
from tui.screens.bench.run import describe_setting

KEPT: Final = ("engine", "threads", "batch", "micro_batch", "kv_type")
"""What a row says of how a model is loaded, as keys of `[models.NAME]`."""


def convert_setting(setting: Setting) -> ModelSettings:
    """How a model is loaded that is to be as it was measured."""
    return ModelSettings(
        engine=setting.engine,
        threads=setting.threads,
        batch=setting.batch,
        micro_batch=setting.micro_batch,
        kv_type=setting.kv_type,
    )


def describe_choice(setting: Setting) -> str:
    """`mlx, 2 threads, batch 512, KV f16`."""
    return f"{setting.engine}, {describe_setting(setting, ('threads', 'batch', 'kv_type'))}"


def list_kept_keys(name: str, asked: str, settings: ModelSettings) -> dict[Key, object]:
    """What the config file is to say, so that the model `name`, which was asked for as `asked`, is loaded so. What the
    row does not say is taken out: the settings belong together."""
    changes: dict[Key, object] = {("models", name, key): getattr(settings, key) for key in KEPT}
    if asked != name:
        path = Path(asked).expanduser()
        changes["models", name, "source"] = str(path.absolute()) if path.exists() else asked
    return changes
