"""The plugin as its users have it: from its wheel, in fresh processes, over the stand-in for mlc_llm."""

import json
import os
import sys
from pathlib import Path

import httpx
import pytest

from tests.fakes.processes import PATIENCE_SECONDS, serving
from tests.plugins.packages import environment, tui

DOCUMENTED = Path(__file__).with_name("documented")


def test_without_mlc_llm_the_doctor_says_what_is_missing(mlc_site: Path, tmp_path: Path) -> None:
    done = tui("doctor", cwd=tmp_path, env=environment(mlc_site, tmp_path))
    assert done.returncode == 0, done.stderr
    assert "mlc-llm does not run here: The package mlc-llm is not installed." in done.stdout
    assert "benchtop-mlc 0.1.0: engines mlc-llm" in done.stdout
    assert "benchtop-mlc 0.1.0: formats mlc" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM")
def test_a_folder_is_served_by_the_installed_plugin(mlc_site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    config = {"model_type": "llama", "quantization": "q4f16_1", "context_window_size": 2048, "temperature": 0.6}
    (folder / "mlc-chat-config.json").write_text(json.dumps(config))
    (folder / "ndarray-cache.json").write_text("{}")
    env = environment(mlc_site, tmp_path)
    env["PYTHONPATH"] += f"{os.pathsep}{DOCUMENTED}"
    with serving(tmp_path / "log", str(folder), env=env, cwd=tmp_path) as url:
        body = {"model": "mine", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "Hello there, you"
