"""What the config file says of a model whose engine was chosen on the bench."""

from __future__ import annotations

from pathlib import Path

from core.bench.results import Setting
from core.contract.options import KvType
from core.settings.change import change_config
from core.settings.load import load_settings
from tui.screens.bench.engine_choice import convert_setting, describe_choice, list_kept_keys

ROW = Setting("org/name", "f", "mlx", "1", "gguf", 2, 512, KvType.Q8_0, 0, 256, 48)


def test_the_config_file_then_loads_the_model_as_it_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("# mine\n[models.'org/name']\nmicro_batch = 64\nttl = 5\n")
    change_config(file, list_kept_keys("org/name", "org/name", convert_setting(ROW)))
    profile = load_settings({}, config_file=file).models["org/name"]
    assert (profile.engine, profile.threads, profile.batch, profile.kv_type) == ("mlx", 2, 512, KvType.Q8_0)
    assert profile.micro_batch is None, "the row says that it is as large as the batch"
    assert (profile.ttl, profile.source) == (5, None)
    assert file.read_text().startswith("# mine")
    assert describe_choice(ROW) == "mlx, 2 threads, batch 512, KV q8_0"


def test_a_file_that_was_named_by_its_path_is_found_again(tmp_path: Path) -> None:
    model, file = tmp_path / "a.gguf", tmp_path / "config.toml"
    model.touch()
    change_config(file, list_kept_keys("a", str(model), convert_setting(ROW)))
    assert load_settings({}, config_file=file).models["a"].source == str(model)
