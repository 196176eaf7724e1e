"""A workbench whose folders cannot be written, or hold damaged files, serves as any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bench.results import BenchRun
from core.engines.registry import ENGINES, Engines
from core.errors import LoadFailed
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, Folders, Settings
from core.workbench import Workbench
from tests.fakes.support import asks

SETTINGS = Settings(bench=BenchSettings(enabled=False))


@pytest.fixture
def nowhere(tmp_path: Path) -> Folders:
    """Below a file there is no folder, for root neither."""
    (tmp_path / "file").touch()
    return Folders(*(tmp_path / "file" / name for name in ("config", "cache", "state")))


async def _answers(settings: Settings, where: Folders, engines: dict[str, str]) -> str:
    bench = Workbench(settings, where, Engines(engines))
    try:
        name = await bench.models.load("guide")
        reply = await (await bench.requests.submit(asks("What is a token?", name, max_tokens=4))).reply()
        assert reply.choices[0].text
        assert bench.models.library()
        assert bench.bench.verdicts() is not None
        assert bench.downloads.items() == ()
        assert bench.bench.compare(BenchRun(0.0, "", "", ())) == []
        return bench.models.active_engine or ""
    finally:
        await bench.close()


async def test_nothing_that_cannot_be_kept_keeps_a_model_from_answering(nowhere: Folders) -> None:
    names = {name: ENGINES[name] for name in ("llamacpp", "onnxruntime", "echo")}
    assert await _answers(SETTINGS, nowhere, names) == "llamacpp"


async def test_damaged_files_count_as_not_kept(tmp_path: Path) -> None:
    where = Folders(*(tmp_path / name for name in ("config", "cache", "state")))
    names = {"llamacpp": ENGINES["llamacpp"]}
    await _answers(SETTINGS, where, names)
    _spoil(tmp_path, where)
    await _answers(SETTINGS, where, names)


def _spoil(root: Path, where: Folders) -> None:
    kept = [path for path in root.rglob("*") if path.is_file()]
    assert kept
    for path in [*kept, where.state / "benchmarks.jsonl", where.state / "fit.jsonl"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.read_bytes().replace(b"e", b"\xff") if path.exists() else b'{"taken": "\xff"}\n')


async def test_an_engine_that_needs_a_copy_which_has_no_room_is_told_where_it_is_the_only_one(nowhere: Folders) -> None:
    pytest.importorskip("onnx")
    settings = Settings(bench=BenchSettings(enabled=False), model=ModelSettings(engine="onnxruntime"))
    with pytest.raises(LoadFailed, match=r"guide cannot be made into what the onnxruntime engine takes"):
        await _answers(settings, nowhere, {name: ENGINES[name] for name in ("llamacpp", "onnxruntime")})
