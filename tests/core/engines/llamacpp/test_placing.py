"""llama.cpp lays a model out as its placement says: by its own words of where its buffers are, and with the same
tokens.

What needs a second device runs where there is one, see `tests.fakes.rpc`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import llama_cpp as native
import pytest
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.contract.placement import HOST, DeviceBuffers, Placement, SplitMode, TensorRule
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.llamacpp.native_log import (
    BufferUse,
    ToldBuffer,
    find_device,
    open_native_log,
    read_buffer,
    sum_buffers,
)
from core.engines.llamacpp.placing import choose_load_mode, list_rules
from core.errors import LoadFailed
from core.guide import WEIGHTS
from tests.fakes.architectures import write_random
from tests.fakes.loading import load_decoder
from tests.fakes.placed_loads import PlacedLoad, load_placed
from tests.fakes.real_weights import SMOLLM2, real_weights
from tests.fakes.rpc import find_rpc_folder, run_rpc_server

GUIDE = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
OPTIONS = LoadOptions(ctx_size=512, slots=1, batch=128, threads=1, extra_buffers=False)
ALL = 1000


def test_what_lies_with_the_host_is_told() -> None:
    model = load_decoder(GUIDE, replace(OPTIONS, placement=Placement()))
    (host,) = model.spec.buffers
    assert host.device == HOST
    assert host.weights == pytest.approx(model.spec.weight_bytes, rel=0.01)
    assert host.kv == pytest.approx(model.spec.cells * model.spec.kv_bytes_per_token, rel=0.01)
    assert min(host.compute, host.output) > 0
    model.shutdown()


@pytest.mark.parametrize(
    ("placement", "safe", "mode"),
    [
        (None, True, native.LLAMA_LOAD_MODE_AUTO),
        (None, False, native.LLAMA_LOAD_MODE_NONE),
        (Placement(), False, native.LLAMA_LOAD_MODE_NONE),
        (Placement(mapped=True), False, native.LLAMA_LOAD_MODE_MMAP),
        (Placement(mapped=False), True, native.LLAMA_LOAD_MODE_NONE),
        (Placement(locked=True), False, native.LLAMA_LOAD_MODE_MLOCK),
        (Placement(locked=True), True, native.LLAMA_LOAD_MODE_MMAP_MLOCK),
        (Placement(locked=True, mapped=False), True, native.LLAMA_LOAD_MODE_MLOCK),
    ],
)
def test_a_file_is_mapped_as_said_or_where_nobody_writes_it(placement: Placement | None, safe: bool, mode: int) -> None:
    assert choose_load_mode(placement, safe=safe) == mode


def test_weights_may_be_mapped_and_locked() -> None:
    for placement in (Placement(mapped=True), Placement(locked=True)):
        model = load_decoder(GUIDE, replace(OPTIONS, placement=placement))
        assert model.spec.buffers[0].weights > 0
        model.shutdown()


def test_experts_of_the_first_layers_are_one_rule_behind_the_users() -> None:
    own = TensorRule("attn", "CUDA0")
    rules = list(list_rules(Placement(expert_layers=2, rules=(own,))))
    assert rules == [own, TensorRule(r"blk\.(0|1)\.ffn_(?:up|down|gate|gate_up)_(?:ch)?exps", HOST)]


def test_a_device_that_is_not_there_is_named_beside_those_that_are() -> None:
    placement = Placement(devices=("CUDA7",), layers=ALL)
    with pytest.raises(LoadFailed, match=r"device CUDA7 is not there, on which guide was to lie; .* has these: none\."):
        LlamaCppEngine().load(GUIDE, replace(OPTIONS, placement=placement))


def test_a_library_without_rpc_says_how_it_is_built_with_it() -> None:
    with pytest.raises(LoadFailed, match=r"cannot use RPC servers: build llama-cpp-python with -DGGML_RPC=on"):
        LlamaCppEngine().measure_free(replace(OPTIONS, rpc=("127.0.0.1:50052",)))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("load_tensors:        CUDA0 model buffer size =   501.00 MiB", ("CUDA0", BufferUse.WEIGHTS, 501 << 20)),
        (
            "load_tensors: RPC0[10.0.0.2:50052] model buffer size =  2.50 MiB",
            ("RPC0[10.0.0.2:50052]", BufferUse.WEIGHTS, 5 << 19),
        ),
        ("llama_kv_cache:        CPU KV buffer size =    24.00 MiB", ("CPU", BufferUse.KV, 24 << 20)),
        ("llama_memory_recurrent: CPU RS buffer size = 1.00 MiB", ("CPU", BufferUse.STATES, 1 << 20)),
        ("sched_reserve:  CUDA_Host compute buffer size =    18.00 MiB", ("CUDA_Host", BufferUse.COMPUTE, 18 << 20)),
        ("llama_context:        CPU  output buffer size =     0.50 MiB", ("CPU", BufferUse.OUTPUT, 1 << 19)),
        ("load_tensors: offloaded 25/25 layers to GPU", None),
    ],
    ids=str,
)
def test_lines_tell_buffers(line: str, told: tuple[str, BufferUse, int] | None) -> None:
    assert read_buffer(line) == (None if told is None else ToldBuffer(*told))


def test_what_is_pinned_mapped_or_rearranged_is_the_hosts() -> None:
    names = ("CUDA0", "CUDA1", "CUDA0_Split", "CUDA_Host", "CPU", "CPU_Mapped", "CPU_REPACK", "AMX", "CUDA10")
    devices = ("CUDA0", "CUDA1")
    assert [find_device(name, devices) for name in names] == ["CUDA0", "CUDA1", "CUDA0", *[HOST] * 6]


def test_buffers_of_passes_are_told_anew_and_others_add_up() -> None:
    told = [ToldBuffer("CUDA0", use, 10) for use in (*BufferUse, BufferUse.KV, BufferUse.COMPUTE)]
    assert sum_buffers(told, ("CUDA0",)) == (
        DeviceBuffers(HOST),
        DeviceBuffers("CUDA0", weights=10, kv=30, compute=10, output=10),
    )


def test_what_is_made_aside_counts_for_nothing_and_says_whether_a_device_has_flash_attention() -> None:
    log = open_native_log()
    log.clear()
    with log.aside():
        model = load_decoder(GUIDE, replace(OPTIONS, placement=Placement()))
        model.shutdown()
    assert log.sum_buffers(()) == (DeviceBuffers(HOST),)
    assert not log.dropped_flash_attention
    log.lines.append("resolve_fused_ops: Flash Attention not supported, set to disabled")
    assert log.dropped_flash_attention
    log.clear()


@pytest.fixture(scope="module")
def rpc() -> Iterator[tuple[Path, str]]:
    folder = find_rpc_folder()
    with run_rpc_server(folder) as endpoint:
        yield folder, endpoint


def test_every_field_of_a_placement_is_obeyed_on_a_second_device(rpc: tuple[Path, str]) -> None:
    folder, endpoint = rpc
    device = f"RPC0[{endpoint}]"
    whole = Placement(devices=(device,), layers=ALL)
    placements = {
        "host": Placement(),
        "whole": whole,
        "ten": replace(whole, layers=10),
        "none": replace(whole, layers=0),
        "kv with the host": replace(whole, kv_offload=False),
        "without help": replace(whole, layers=10, op_offload=False),
        "feed-forward with the host": replace(whole, rules=(TensorRule(r"ffn_(up|down)", HOST),)),
        "feed-forward alone": replace(whole, layers=0, rules=(TensorRule(r"ffn_(up|down)", device),)),
        "one of one": replace(whole, split=SplitMode.NONE),
        "rows": replace(whole, split=SplitMode.ROW),
        "no pattern": replace(whole, rules=(TensorRule("ffn_(up", HOST),)),
    }
    asked = [replace(OPTIONS, rpc=(endpoint,), placement=placement) for placement in placements.values()]
    loads = dict(zip(placements, load_placed(folder, real_weights(SMOLLM2), asked), strict=True))
    assert loads.pop("rows").refused == "RPC0 cannot share a model by rows; leave --split-mode at layer."
    assert loads.pop("no pattern").refused.startswith("A pattern of --override-tensor cannot be read: ")
    assert len({load.tokens for load in loads.values()}) == 1
    host = loads["host"].of()

    def share(name: str) -> tuple[float, float]:
        """Of the weights and of the KV cache, what lies on the device."""
        there = loads[name].of(device)
        return round(there.weights / host.weights, 2), round(there.kv / host.kv, 2)

    # The table of embeddings, a third of the model, is with the host and, as the output's, on the device.
    assert share("whole") == share("one of one") == (1.0, 1.0)
    assert share("ten") == share("without help") == (0.52, 0.3)
    assert share("none") == (0.0, 0.0)
    assert share("kv with the host") == (1.0, 0.0)
    assert share("feed-forward with the host") == (0.66, 1.0)
    assert share("feed-forward alone") == (0.34, 0.0)


def test_experts_stay_with_the_host_on_a_second_device(rpc: tuple[Path, str], tmp_path: Path) -> None:
    folder, endpoint = rpc
    device = f"RPC0[{endpoint}]"
    whole = Placement(devices=(device,), layers=ALL)
    asked = [
        replace(OPTIONS, rpc=(endpoint,), placement=replace(whole, expert_layers=layers)) for layers in (0, 1, 2, 99)
    ]
    loads = load_placed(folder, write_random("qwen3moe", tmp_path), asked)
    there = [load.of(device).weights for load in loads]
    expert = 3 * 16 * 384 * 256 * 4
    assert [there[0] - each for each in there] == pytest.approx([0, expert, 2 * expert, 4 * expert], rel=0.01)
    assert len({load.tokens for load in loads}) == 1


def test_a_model_is_divided_among_two_devices_by_shares(rpc: tuple[Path, str]) -> None:
    folder, endpoint = rpc
    with run_rpc_server(folder) as other:
        devices = (f"RPC0[{endpoint}]", f"RPC0[{other}]")
        shares = [(1.0, 1.0), (3.0, 1.0), (0.0, 1.0)]
        asked = [
            replace(OPTIONS, rpc=(endpoint, other), placement=Placement(devices=devices, layers=ALL, shares=each))
            for each in shares
        ]
        alone = Placement(devices=devices, layers=ALL, split=SplitMode.NONE, main=1)
        asked.append(replace(OPTIONS, rpc=(other, endpoint), placement=alone))
        loads: list[PlacedLoad] = load_placed(folder, real_weights(SMOLLM2), asked)
    layers = [round(30 * load.of(devices[0]).kv / sum(each.kv for each in load.buffers)) for load in loads]
    assert layers == [16, 24, 0, 0]
    assert len({load.tokens for load in loads}) == 1


def test_a_server_that_is_not_there_is_told_and_ends_no_process(rpc: tuple[Path, str]) -> None:
    folder, _ = rpc
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        asked = replace(OPTIONS, rpc=(endpoint,), placement=Placement(devices=(f"RPC0[{endpoint}]",), layers=ALL))
        (load,) = load_placed(folder, WEIGHTS, [asked])
    assert load.refused.startswith(
        f"The RPC server {endpoint} does not answer (Connection refused); start it there with"
    )
