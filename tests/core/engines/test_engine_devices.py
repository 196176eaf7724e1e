"""What engines say that they compute on."""

from core.contract.abilities import TellsDevices
from core.contract.options import LayerWord, LoadOptions
from core.contract.placement import SplitMode
from core.engines.onnx.engine import CPU, _choose_providers, set_provider
from core.engines.registry import Engines
from core.engines.undivided import explain_undivided


def test_engines_tell_what_their_libraries_compute_on() -> None:
    told = Engines({name: Engines().locate(name) for name in ("onnxruntime", "llamacpp")}).list_devices()
    assert told["onnxruntime"][-1] == "CPU"
    assert told["llamacpp"]


def test_an_engine_whose_library_fails_is_left_out() -> None:

    engines = Engines({"onnxruntime": "core.engines.onnx.engine:OnnxEngine"})
    engine = engines.get("onnxruntime")
    assert isinstance(engine, TellsDevices)

    def fail() -> list[str]:
        raise OSError("a library of it is missing")

    engine.list_devices = fail  # type: ignore[method-assign]
    assert engines.list_devices() == {}


def test_onnxruntime_leaves_accelerators_idle_where_no_layer_may_lie_there() -> None:
    assert _choose_providers(LoadOptions(gpu_layers=0)) == [(CPU, {})]


def test_onnxruntime_uses_the_card_that_is_named_and_no_more_of_it_than_it_may() -> None:
    options = LoadOptions(main_gpu=1, device_memory=(("CUDA0", 5), ("CUDA1", 7)))
    limits = {"gpu_mem_limit": "7", "arena_extend_strategy": "kSameAsRequested"}
    assert set_provider("CUDAExecutionProvider", options)[1] == {"device_id": "1"} | limits
    assert set_provider("DmlExecutionProvider", options)[1] == {"device_id": "1"}
    assert set_provider(CPU, options)[1] == {}
    assert set_provider("CUDAExecutionProvider", LoadOptions())[1] == {}


def test_what_divides_a_model_is_told_to_have_no_effect_where_it_is_laid_out_whole() -> None:
    assert explain_undivided("MLX", LoadOptions(gpu_layers=LayerWord.ALL, main_gpu=1, cpu_moe=LayerWord.AUTO)) == ()
    assert explain_undivided("MLX", LoadOptions(gpu_layers=0)) == ()
    asked = LoadOptions(gpu_layers=4, cpu_moe=2, mlock=True, split_mode=SplitMode.ROW)
    assert explain_undivided("MLX", asked) == (
        "MLX lays a model out whole: --mlock, --split-mode, --cpu-moe have no effect and --gpu-layers 4 counts as all.",
    )
    assert explain_undivided("MLX", LoadOptions(mmap=False)) == ("MLX lays a model out whole: --mmap has no effect.",)
