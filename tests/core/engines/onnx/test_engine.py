import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import onnx
import pytest
from msgspec.structs import replace
from onnx import TensorProto, helper

from core.contract.artifact import Artifact
from core.contract.engine import Available, Unavailable
from core.contract.options import KvType, LoadOptions
from core.contract.step import Work
from core.engines import installed
from core.engines.onnx.engine import OnnxEngine
from core.engines.onnx.model import OnnxModel
from core.errors import ArtifactError, Cancelled, EngineError, Interrupted, LoadFailed
from core.requests import Sampling
from tests.core.engines.onnx.conftest import OPTIONS, load

GREEDY = Sampling(temperature=0.0)


def test_the_engine_is_cheap_to_import() -> None:
    code = (
        "import sys; from core.engines.onnx.engine import OnnxEngine; OnnxEngine().availability(); "
        "print([name for name in ('onnxruntime', 'tokenizers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_package_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(OnnxEngine().availability(), Available)
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    availability = OnnxEngine().availability()
    assert isinstance(availability, Unavailable)
    assert availability.mend == "uv pip install onnxruntime"


def test_safer_settings_end() -> None:
    engine = OnnxEngine()
    plain = engine.safer(LoadOptions())
    assert plain == LoadOptions(extra_buffers=False)
    single = engine.safer(plain)
    assert single == LoadOptions(extra_buffers=False, threads=1, batch_threads=1)
    assert engine.safer(single) is None


def test_the_spec_tells_what_the_folder_says(model: OnnxModel) -> None:
    spec = model.spec
    assert (spec.architecture, spec.quantization, spec.eos) == ("llama", "fp32", "<|im_end|>")
    assert spec.template is not None
    assert "assistant" in spec.template
    assert spec.weight_bytes > 1_000_000
    assert any("model.onnx" in note for note in spec.notes)
    assert any("CPU" in note for note in spec.notes)


def test_a_context_beyond_the_trained_one_is_cut_with_a_note(written: Path) -> None:
    model = load(written, replace(OPTIONS, ctx_size=1_000_000, slots=1))
    assert model.spec.context == model.spec.trained_context
    assert any("later positions" in note for note in model.spec.notes)


def test_a_kv_type_that_cannot_be_had_is_told(written: Path) -> None:
    assert any("--kv-type" in note for note in load(written, replace(OPTIONS, kv_type=KvType.Q8_0)).spec.notes)


def test_a_file_may_be_named_itself(written: Path) -> None:
    assert load(written / "onnx" / "model.onnx").spec.quantization == "fp32"


def test_loading_can_be_stopped(written: Path) -> None:
    with pytest.raises(Cancelled):
        OnnxEngine().load(Artifact("guide", "onnx", written, 0), OPTIONS, lambda share: share < 0.5)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "onnx/model.onnx"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(ArtifactError, match=Path(file).name.replace("model", "model.*")):
        load(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]"], ids=["cut off", "not UTF-8", "no object"])
def test_a_damaged_json_file_is_refused(folder: Path, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(ArtifactError, match="guide"):
        load(folder)


@pytest.mark.parametrize("keep", [0, 100, 100_000])
def test_a_graph_cut_off_is_refused_in_one_sentence(folder: Path, keep: int) -> None:
    path = folder / "onnx" / "model.onnx"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises((ArtifactError, LoadFailed)) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_an_unsupported_operator_is_named(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    proto = onnx.load(path)
    (last,) = [node for node in proto.graph.node if node.output[0] == "logits"]
    last.op_type = "FoldSpace"
    onnx.save(proto, path)
    with pytest.raises((ArtifactError, LoadFailed), match="FoldSpace"):
        load(folder)


def test_weights_beside_the_graph_that_are_not_there_are_refused(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx_data")
    assert load(folder).spec.weight_bytes > 1_000_000
    (folder / "onnx" / "model.onnx_data").unlink()
    with pytest.raises((ArtifactError, LoadFailed), match="model.onnx_data"):
        load(folder)


def test_a_graph_without_a_cache_is_refused(folder: Path) -> None:
    info = helper.make_tensor_value_info
    node = helper.make_node("Cast", ["input_ids"], ["logits"], to=TensorProto.FLOAT)
    graph = helper.make_graph(
        [node], "none", [info("input_ids", TensorProto.INT64, ["b", "n"])], [info("logits", TensorProto.FLOAT, None)]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, folder / "onnx" / "model.onnx")
    with pytest.raises(LoadFailed, match="past_key_values"):
        load(folder)


def test_an_input_nobody_feeds_is_refused_by_name(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    proto = onnx.load(path)
    proto.graph.input.append(helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1]))
    onnx.save(proto, path)
    with pytest.raises(LoadFailed, match="pixel_values"):
        load(folder)


def test_a_saved_state_that_was_changed_is_refused(model: OnnxModel) -> None:
    sequence = model.open(GREEDY)
    model.step([Work(sequence, [1, 2, 3], sample=True)])
    data = model.save(sequence)
    model.close(sequence)
    for index in (5, 40, 60, len(data) - 1):
        damaged = bytearray(data)
        damaged[index] ^= 1
        with pytest.raises(EngineError):
            model.restore(bytes(damaged), GREEDY)
    with pytest.raises(EngineError):
        model.restore(data[:-1], GREEDY)
    assert not model._sequences


def test_an_empty_sequence_can_be_saved(model: OnnxModel) -> None:
    sequence = model.open(GREEDY)
    restored = model.restore(model.save(sequence), GREEDY)
    assert model.step([Work(restored, [1, 2], sample=True)]) == model.step([Work(sequence, [1, 2], sample=True)])
    model.close(sequence)
    model.close(restored)


def test_a_run_under_way_is_interrupted(written: Path) -> None:
    model = load(written, replace(OPTIONS, ctx_size=2048, batch=2048))
    sequence = model.open(GREEDY)
    tokens = [1, *range(2, 2000)]
    model.step([Work(sequence, tokens, sample=False)])
    model.trim(sequence, 0)
    began = time.perf_counter()
    model.step([Work(sequence, tokens, sample=False)])
    whole = time.perf_counter() - began
    model.trim(sequence, 0)
    timer = threading.Timer(whole / 4, model.interrupt, args=(True,))
    timer.start()
    with pytest.raises(Interrupted):
        model.step([Work(sequence, tokens, sample=False)])
    timer.join()
    model.interrupt(False)
    assert model._sequences[sequence].view.length == 0
    model.shutdown()


def test_the_template_may_be_one_of_several_in_the_configuration(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    several = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": several, "eos_token": {"content": "E"}}))
    spec = load(folder).spec
    assert (spec.template, spec.eos) == ("D", "E")


def test_what_the_makers_recommend_is_taken(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.3, "top_k": 7, "eos_token_id": 2}))
    recommended = load(folder).spec.sampling
    assert (recommended.temperature, recommended.top_k, recommended.top_p) == (0.3, 7, Sampling().top_p)
