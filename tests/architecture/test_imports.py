"""What may import what, and what must not be imported before it is used; proved in fresh interpreters."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRONT_ENDS = {"textual", "litestar", "uvicorn"}
HEAVY = {"llama_cpp", "numpy", "onnxruntime", "mlx", "MNN", "_mnncengine", "torch", "litestar", "_pywhispercpp", "av"}
HEAVY |= {"executorch", "mlc_llm", "onnxruntime_genai", "huggingface_hub", "prometheus_client", "opentelemetry"}


def modules_after(statement: str) -> set[str]:
    """Top-level modules loaded after a statement in an interpreter of its own."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def core_modules() -> list[str]:
    files = (ROOT / "core").rglob("*.py")
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}
    # Training wants torch, which is no dependency.
    scripts: tuple[str, ...] = ("core.guide.training", "core.guide.convert.executorch")
    # The thread that tells a collector imports it, and nothing else does.
    scripts += () if find_spec("opentelemetry") else ("core.observing.otlp.wire",)
    return sorted(name for name in names if not name.startswith(scripts))


def test_no_module_of_the_core_imports_a_front_end() -> None:
    statement = "import " + ", ".join(core_modules())
    assert not modules_after(statement) & FRONT_ENDS


@pytest.mark.parametrize("module", ["core.workbench", "core.engines", "core.settings.schema", "tui.cli.main"])
def test_nothing_heavy_is_imported_before_it_is_used(module: str) -> None:
    assert not modules_after(f"import {module}") & HEAVY


def test_asking_which_engines_run_here_loads_no_native_library() -> None:
    assert not modules_after("from core.engines.registry import Engines\nEngines().reports()") & HEAVY


def test_the_app_reaches_its_first_frame_without_server_or_engines() -> None:
    assert not modules_after("import tui.app") & (HEAVY | {"uvicorn"})


def test_the_server_knows_no_way_to_open_what_the_user_alone_may_name() -> None:
    own = re.compile(r"\b(read_own|resolve_own|LocalPath|read_path|read_url)\b|names import .*\bparse_name\b")
    assert [str(path) for path in (ROOT / "api").rglob("*.py") if own.search(path.read_text(encoding="utf-8"))] == []
