"""What engines say that they compute on."""

from core.contract.abilities import TellsDevices
from core.contract.options import LoadOptions
from core.engines.onnx.engine import CPU, _choose_providers
from core.engines.registry import Engines


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
    assert _choose_providers(LoadOptions(gpu_layers=0)) == [CPU]
