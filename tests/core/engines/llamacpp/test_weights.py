"""How weights come into memory: mapped where nobody writes their file anew, else read; and where they do not fit."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.guide import WEIGHTS
from tests.fakes.real_weights import SMOLLM2, real_weights


def is_mapped_once_loaded(path: Path) -> bool:
    artifact = Artifact("guide", "gguf", path, path.stat().st_size)
    model = LlamaCppEngine().load(artifact, LoadOptions(ctx_size=256, slots=1, threads=1, extra_buffers=False))
    try:
        return str(path.resolve()) in Path("/proc/self/maps").read_text()
    finally:
        model.shutdown()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has mapped")
def test_a_file_is_read_where_it_may_be_cut_short_and_mapped_where_it_never_is(tmp_path: Path) -> None:
    lying = tmp_path / "guide.gguf"
    lying.write_bytes(WEIGHTS.read_bytes())
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / "abc").write_bytes(WEIGHTS.read_bytes())
    named = tmp_path / "named.gguf"
    named.symlink_to(blobs / "abc")
    assert not is_mapped_once_loaded(lying)
    assert is_mapped_once_loaded(named)


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of address space that is kept is Linux's")
def test_weights_for_which_there_is_no_memory_are_not_called_damaged() -> None:
    """In a process of its own, whose address space is bounded just before."""
    program = """
import resource, sys
from pathlib import Path
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import LoadFailed
from core.guide import WEIGHTS

def load(path):
    artifact = Artifact(path.stem, "gguf", path, path.stat().st_size)
    LlamaCppEngine().load(artifact, LoadOptions(ctx_size=256, slots=1, threads=1, extra_buffers=False)).shutdown()

load(WEIGHTS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000, resource.RLIM_INFINITY))
try:
    load(Path(sys.argv[1]))
except LoadFailed as error:
    print(error)
load(WEIGHTS)
"""
    words = [sys.executable, "-c", program, str(real_weights(SMOLLM2))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "There is too little memory for the weights of smollm2" in done.stdout
    assert "take a smaller quantization" in done.stdout
