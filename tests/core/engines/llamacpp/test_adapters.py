"""LoRA adapters on llama.cpp, made by the tests for the built-in model."""

import threading
from collections.abc import Callable
from pathlib import Path

import gguf
import llama_cpp as native
import numpy as np
import pytest

from core.contract.options import LoadOptions, Lora
from core.contract.step import Work
from core.engines.registry import Engines
from core.errors import ArtifactError, LoadFailed
from core.models.resolve import resolve_own
from core.requests import Sampling
from core.serving.pool.loader import ModelLoader
from core.settings.profile import Profile
from core.settings.schema import Settings
from core.trial.probe import Prober
from tests.fakes.loading import load_decoder

GUIDE = resolve_own("guide")
WIDTH, RANK = 256, 4
QUESTION = "<|im_start|>user\nWhat is a KV cache?<|im_end|>\n<|im_start|>assistant\n"


def write_adapter(path: Path, *, width: int = WIDTH, size: float = 0.3, architecture: str = "llama") -> Path:
    """An adapter of the first layer's queries: `size` times noise of rank 4."""
    noise = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    for name, shape in (("lora_a", (RANK, width)), ("lora_b", (width, RANK))):
        writer.add_tensor(f"blk.0.attn_q.weight.{name}", (size * noise.standard_normal(shape)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def words(*loras: Lora) -> list[int]:
    """What the built-in model says, greedily."""
    model = load_decoder(GUIDE, LoadOptions(ctx_size=256, slots=1, batch=64, threads=1, loras=loras))
    try:
        prompt = model.tokenizer.encode(QUESTION, special=True)
        sequence = model.open(Sampling(temperature=0.0), prompt)
        said: list[int] = []
        for _ in range(12):
            (step,) = model.step([Work(sequence, said[-1:] or prompt, sample=True)])
            said += step.tokens
        return said
    finally:
        model.shutdown()


def test_an_adapter_changes_what_is_said_as_much_as_it_is_scaled(tmp_path: Path) -> None:
    path = str(write_adapter(tmp_path / "a.gguf"))
    plain = words()
    assert words(Lora(path)) != plain
    assert words(Lora(path, 0.0)) == plain
    # Two that cancel out are none.
    other = str(write_adapter(tmp_path / "b.gguf"))
    assert words(Lora(path, 1.0), Lora(other, -1.0)) == plain


def test_the_model_tells_its_adapters(tmp_path: Path) -> None:
    path = str(write_adapter(tmp_path / "a.gguf"))
    model = load_decoder(GUIDE, LoadOptions(ctx_size=256, slots=1, loras=(Lora(path, 0.5),)))
    assert "The adapter a.gguf is added, times 0.5." in model.spec.notes
    model.shutdown()


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    for path in (
        write_adapter(tmp_path / "narrow.gguf", width=128),
        write_adapter(tmp_path / "other.gguf", architecture="qwen2"),
        GUIDE.path,
    ):
        with pytest.raises(LoadFailed, match="is no adapter for guide"):
            words(Lora(str(path)))


def test_an_adapter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere\.gguf of guide is not there"):
        words(Lora(str(tmp_path / "nowhere.gguf")))


def test_a_load_that_an_adapter_ends_gives_back_the_weights_and_the_kv_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[str] = []
    for name in ("llama_free", "llama_model_free"):
        real = getattr(native, name)

        def free(pointer: object, name: str = name, real: Callable[[object], None] = real) -> None:
            freed.append(name)
            real(pointer)

        monkeypatch.setattr(native, name, free)
    with pytest.raises(ArtifactError):
        words(Lora(str(tmp_path / "nowhere.gguf")))
    assert freed == ["llama_free", "llama_model_free"]


def loader(folder: Path) -> ModelLoader:
    return ModelLoader(Settings(), Engines(), Prober(folder, 60.0), LoadOptions(), folder, print)


def test_only_engines_that_take_adapters_are_tried_for_a_model_with_one(tmp_path: Path) -> None:
    path = str(write_adapter(tmp_path / "a.gguf"))
    profile = Profile(loras=(path,), ctx_size=256, slots=1)
    loaded = loader(tmp_path).load(GUIDE, threading.Event(), lambda _: None, profile)
    assert loaded.engine == "llamacpp"
    assert any("a.gguf" in note for note in loaded.model.spec.notes)
    loaded.model.shutdown()
    with pytest.raises(LoadFailed, match="The echo engine takes no LoRA adapters"):
        loader(tmp_path).load(resolve_own("echo"), threading.Event(), lambda _: None, profile)
