"""What llama.cpp's library tells: compiled stand-ins, asked by the real child process."""

from pathlib import Path

import pytest

from core.devices import library as library_module
from core.devices.device import Backend, Device, DeviceKind
from core.devices.library import LibraryLooks, LlamaLibrary, find_library_folder
from tests.fakes.devices import GIB, PROCESSOR, FakeGgmlDevice, build_ggml

CUDA = FakeGgmlDevice("CUDA0", "NVIDIA H200", "CUDA", 140 * GIB, 139 * GIB, address="0000:C1:00.0")
VULKAN = FakeGgmlDevice("Vulkan0", "AMD Radeon 780M", "Vulkan", 30 * GIB, 29 * GIB, type=2)
METAL = FakeGgmlDevice("MTL0", "Apple M4", "MTL", 12 * GIB, 12 * GIB)
REMOTE = FakeGgmlDevice("RPC0[10.0.0.2:50052]", "10.0.0.2:50052", "RPC", 8 * GIB, 9 * GIB)
HELPER = FakeGgmlDevice("BLAS", "OpenBLAS", "BLAS", 0, 0, type=3)
CARD = Device("NVIDIA H200", DeviceKind.CARD, 140 * GIB, 100 * GIB, backend=Backend.CUDA, address="0000:c1:00.0")


def test_accelerators_are_told_with_their_ids_and_what_computes_there(tmp_path: Path) -> None:
    view = LlamaLibrary(build_ggml(tmp_path, (CUDA, VULKAN, METAL, REMOTE, HELPER, PROCESSOR))).look()
    assert [(each.id, each.kind, each.backend, each.address) for each in view.devices] == [
        ("CUDA0", DeviceKind.CARD, Backend.CUDA, "0000:c1:00.0"),
        ("Vulkan0", DeviceKind.UNIFIED, Backend.VULKAN, ""),
        ("MTL0", DeviceKind.UNIFIED, Backend.METAL, ""),
        ("RPC0[10.0.0.2:50052]", DeviceKind.REMOTE, Backend.RPC, ""),
    ]
    assert (view.devices[0].name, view.devices[0].total, view.devices[0].free) == ("NVIDIA H200", CUDA.total, CUDA.free)
    assert view.devices[3].free == view.devices[3].total
    assert view.backends == ("CUDA", "Vulkan", "MTL", "RPC", "BLAS", "CPU")


def test_a_library_with_more_abilities_and_unknown_parts_is_read_all_the_same(tmp_path: Path) -> None:
    new = FakeGgmlDevice("ET0", "a chip", "ET", GIB, GIB)
    (device,) = LlamaLibrary(build_ggml(tmp_path, (new,), caps=40)).look().devices
    assert (device.id, device.backend) == ("ET0", Backend.UNKNOWN)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ('fprintf(stderr, "CUDA error: unknown error\\n"); abort();', "CUDA error: unknown error"),
        ("exit(3);", "its process ended with 3"),
    ],
)
def test_a_library_that_dies_costs_no_more_than_its_child(before: str, said: str, tmp_path: Path) -> None:
    view = LlamaLibrary(build_ggml(tmp_path, (CUDA,), before=before)).look()
    assert view.devices == ()
    assert view.problem == f"llama.cpp could not tell its devices: {said}."


def test_a_library_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_module, "LOOK_SECONDS", 0.2)
    view = LlamaLibrary(build_ggml(tmp_path, (CUDA,), before="for (;;) pause();")).look()
    assert "did not tell its devices" in view.problem


def test_what_a_library_prints_does_not_disturb(tmp_path: Path) -> None:
    folder = build_ggml(tmp_path, (PROCESSOR,), before='puts("{}"); fprintf(stderr, "ggml_cuda_init: no device\\n");')
    view = LlamaLibrary(folder).look()
    assert (view.devices, view.problem, view.said) == ((), "", "ggml_cuda_init: no device")


def test_a_library_for_processors_is_not_looked_at(tmp_path: Path) -> None:
    library = LlamaLibrary(build_ggml(tmp_path, (CUDA,), before="abort();", parts=()))
    assert library.is_for_processors()
    assert library.look().backends == ("CPU",)


def test_the_bindings_library_is_found_without_importing_them() -> None:
    folder = find_library_folder({})
    assert folder is not None
    assert (folder / "..").resolve().name == "llama_cpp"
    assert find_library_folder({"LLAMA_CPP_LIB_PATH": "/elsewhere"}) == Path("/elsewhere")


def test_a_look_is_kept_over_restarts_for_the_same_library_and_cards(tmp_path: Path) -> None:
    folder = build_ggml(tmp_path / "lib", (CUDA,))
    first = LibraryLooks(LlamaLibrary(folder))
    first.file = tmp_path / "cache" / "devices.json"
    seen = first.find((CARD,))
    # Another library of the same size and age: only what was kept can tell of the first.
    again = LibraryLooks(LlamaLibrary(folder))
    again.file = first.file
    again.library.look = None  # type: ignore[assignment, method-assign]
    assert again.find((CARD,)) == seen


def test_a_library_that_found_no_device_is_asked_again_by_the_next_process(tmp_path: Path) -> None:
    looks = LibraryLooks(LlamaLibrary(build_ggml(tmp_path / "lib", (PROCESSOR,), parts=("vulkan", "rpc"))))
    looks.file = tmp_path / "devices.json"
    assert looks.find(()).backends == ("CPU", "RPC", "Vulkan")
    assert not looks.file.exists()


def test_a_budget_that_is_overdrawn_leaves_nothing_free(tmp_path: Path) -> None:
    overdrawn = FakeGgmlDevice("Vulkan0", "a card", "Vulkan", 8 * GIB, (1 << 64) - GIB)
    (device,) = LlamaLibrary(build_ggml(tmp_path, (overdrawn,))).look().devices
    assert (device.total, device.free) == (8 * GIB, 0)


@pytest.mark.parametrize("change", ["library", "cards", "CUDA_VISIBLE_DEVICES", "VK_DRIVER_FILES"])
def test_another_library_other_cards_and_hidden_ones_are_looked_at_anew(change: str, tmp_path: Path) -> None:
    folder = build_ggml(tmp_path / "lib", (CUDA,))
    environment: dict[str, str] = {}
    library = LlamaLibrary(folder, environment)
    before = library.fingerprint((CARD,))
    if change == "library":
        (folder / "libggml-cuda.so").write_bytes(b"another build")
    if change.isupper():
        environment[change] = "1"
    assert library.fingerprint(() if change == "cards" else (CARD,)) != before


def test_a_look_that_failed_is_tried_again_by_the_next_process(tmp_path: Path) -> None:
    looks = LibraryLooks(LlamaLibrary(build_ggml(tmp_path / "lib", (CUDA,), before="abort();")))
    looks.file = tmp_path / "devices.json"
    assert looks.find(()).problem
    assert not looks.file.exists()


def test_what_was_kept_and_is_damaged_counts_as_not_kept(tmp_path: Path) -> None:
    looks = LibraryLooks(LlamaLibrary(build_ggml(tmp_path / "lib", (CUDA,))))
    looks.file = tmp_path / "devices.json"
    looks.file.write_text('{"fingerprint": 3')
    assert [device.id for device in looks.find(()).devices] == ["CUDA0"]
