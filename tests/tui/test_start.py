"""What must not be imported before the first frame."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("litestar", "uvicorn", "llama_cpp", "numpy", "onnxruntime", "mlx", "huggingface_hub", "structlog")


@pytest.mark.parametrize("module", ["tui.app", "tui.screens.chat.screen", "tui.cli.main"])
def test_the_first_frame_imports_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_app_itself_imports_no_screen_before_it_is_shown() -> None:
    script = "import sys, tui.app; print([name for name in sys.modules if name.startswith('tui.screens.')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['tui.screens.base']"


def test_palettes_know_no_toolkit() -> None:
    script = "import sys, themes; print('textual' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
