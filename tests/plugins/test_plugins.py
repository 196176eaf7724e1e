"""What plugins may import, when their names are read, and what a broken one breaks: nothing."""

import ast
import json
from pathlib import Path

import pytest

from tests.plugins.packages import HERE, environment, run, tui

PUBLIC = (
    *("core.contract", "core.models.formats", "core.engines.installed", "core.decoding.detokenize", "core.errors"),
    *("core.events", "core.requests", "core.text_files", "themes.palette"),
)
"""What CONTRIBUTING.md offers to plugins."""
OURS = ("core.", "api.", "tui.", "themes.")
ENTRIES = """
[benchtop.engines]
absent = no_such_module:Engine
echo = broken_plugin:Anything
half = broken_plugin:Anything

[benchtop.formats]
gguf = broken_plugin:Anything
ending = broken_plugin:ends

[benchtop.themes]
plain = broken_plugin:Anything
pale = broken_plugin:PALE
"""
MODULE = """
from themes.graphite import PALETTE
from msgspec.structs import replace

class Anything:
    name = "half"

PALE = replace(PALETTE, name="pale", foreground="#303030")

def __getattr__(name):
    raise SystemExit(name)
"""
LATE = """
import importlib.metadata, sys
def refuse(**_):
    raise AssertionError("nobody asked for a plugin")
importlib.metadata.entry_points = refuse
{}
"""


@pytest.mark.parametrize("plugin", ["example", "mlc"])
def test_a_plugin_imports_what_is_offered_to_plugins_alone(plugin: str) -> None:
    for path in (HERE / plugin / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = str(node.module) if isinstance(node, ast.ImportFrom) else ""
            assert not module.startswith(OURS) or module.startswith(PUBLIC), path


@pytest.mark.parametrize(
    "code",
    [
        "from tui.cli.main import main\nmain(['--help'])",
        "from core.settings.schema import Settings\nfrom tui.app import BenchtopApp\nBenchtopApp(Settings())",
        "from core.models.resolve import resolve_own\nprint(resolve_own('guide').format)",
    ],
    ids=["help", "app", "guide"],
)
def test_no_metadata_is_read_for_what_is_built_in(example_site: Path, tmp_path: Path, code: str) -> None:
    done = run("-c", LATE.format(code), cwd=tmp_path, env=environment(example_site, tmp_path))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def broken_site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    (site / "broken-1.0.dist-info").mkdir(parents=True)
    (site / "broken-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (site / "broken-1.0.dist-info" / "entry_points.txt").write_text(ENTRIES)
    (site / "broken_plugin.py").write_text(MODULE)
    return site


def test_broken_plugins_are_told_by_the_doctor_and_the_rest_works(broken_site: Path, tmp_path: Path) -> None:
    env = environment(broken_site, tmp_path)
    done = tui("doctor", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "broken 1.0:" not in done.stdout
    told = [" ".join(line.split()) for line in done.stdout.splitlines() if "is left out" in line]
    reasons = {line.split()[2]: line.partition("left out: ")[2] for line in told}
    assert reasons.pop("pale").startswith("foreground: #303030 on the background")
    assert reasons == {
        "absent": "it cannot be loaded, ModuleNotFoundError: No module named 'no_such_module'.",
        "echo": "echo is the name of a built-in one.",
        "half": "it is no engine, for it has no availability, formats, load, platform, priority.",
        "gguf": "gguf is the name of a built-in one.",
        "ending": "it cannot be loaded, SystemExit: ends.",
        "plain": "it is no themes.Palette.",
    }
    listed = tui("list", "--json", cwd=tmp_path, env=env)
    entries = {entry["name"]: entry for entry in json.loads(listed.stdout)}
    assert "The plugin half (benchtop.engines) of broken 1.0 is left out" in listed.stderr
    assert entries["guide"]["engines"][0] == "llamacpp"
