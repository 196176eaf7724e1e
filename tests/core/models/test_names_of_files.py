"""Files whose names are not UTF-8: they are models like any other, and break none."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from core.contract.options import LoadOptions
from core.foreign_text import make_encodable
from core.guide import WEIGHTS
from core.models.formats.detect import fingerprint_model
from core.models.library.scan import Library
from core.models.paths import read_path
from core.trial.child import TrialRequest, VariantTried
from core.trial.parent import run_trial

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode there")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name in (b"na\xffme.gguf", b"good.gguf"):
        os.symlink(WEIGHTS, os.path.join(os.fsencode(tmp_path), name))  # noqa: PTH118, PTH211 - bytes
    return tmp_path


def test_a_library_with_such_a_name_is_listed_and_remembered(
    library: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    memory = tmp_path_factory.mktemp("cache") / "library.msgpack"
    for _ in range(2):
        shelf = Library(folders=[library], memory=memory)
        assert {"good", r"na\xffme"} <= shelf.names().keys()
        assert {entry.short for entry in shelf.scan()} >= {"good", r"na\xffme"}
    assert memory.is_file()


def test_such_a_model_has_a_name_that_can_be_written_and_the_path_it_has(library: Path) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(library), b"na\xffme.gguf")))  # noqa: PTH118 - bytes
    artifact = read_path(path)
    assert artifact.name == r"na\xffme"
    assert msgspec.json.encode(artifact.name)
    assert artifact.path.is_file()


def test_such_a_file_is_tried_in_a_child_process(library: Path) -> None:
    copy = Path(os.fsdecode(os.path.join(os.fsencode(library), b"co\xffpy.gguf")))  # noqa: PTH118 - bytes
    copy.write_bytes(WEIGHTS.read_bytes())
    artifact = read_path(copy)
    assert fingerprint_model(library)
    location = "core.engines.llamacpp.engine:LlamaCppEngine"
    request = TrialRequest(location, artifact, (LoadOptions(threads=1, ctx_size=64),), (1,), rounds=1, seconds=1)
    outcome = run_trial(request, 60.0, threading.Event())
    assert outcome.trouble is None
    assert any(isinstance(line, VariantTried) for line in outcome.lines)


def test_only_what_cannot_be_encoded_becomes_an_escape() -> None:
    assert make_encodable("ünï \x1b \u202e") == "ünï \x1b \u202e"
    assert make_encodable("a\udcff\ud800") == r"a\xff\ud800"
