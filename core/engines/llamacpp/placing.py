"""Tells llama.cpp where the parts of a model are to lie."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Final

import llama_cpp as native

from core.contract.options import LoadOptions
from core.contract.placement import HOST, Placement, SplitMode, TensorRule
from core.devices.endpoints import format_endpoint
from core.devices.ggml import GgmlDevice, GgmlLibrary
from core.devices.library import find_library_folder
from core.devices.servers import add_server, check_server, explain_loss, list_lost
from core.engines.llamacpp.native_log import open_native_log
from core.errors import LoadFailed
from core.models.formats.layout import EXPERTS
from core.telemetry.last_moments import open_last_moments

MODES: Final[Mapping[SplitMode, int]] = {
    SplitMode.NONE: native.LLAMA_SPLIT_MODE_NONE,
    SplitMode.LAYER: native.LLAMA_SPLIT_MODE_LAYER,
    SplitMode.ROW: native.LLAMA_SPLIT_MODE_ROW,
}


class _Override(ctypes.Structure):
    """`llama_model_tensor_buft_override` of llama.h."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffers", ctypes.c_void_p))


class NativeDevices:
    """The accelerators of the library that the bindings have loaded."""

    def __init__(self) -> None:
        """Raises OSError or AttributeError where the library cannot tell them."""
        folder = find_library_folder(os.environ)
        assert folder is not None
        self._library = GgmlLibrary(folder)
        self._servers: dict[str, None] = {}
        """Those that the library knows, `host:port`; it never forgets one."""

    def list_reached(self, options: LoadOptions, model: str) -> tuple[GgmlDevice, ...]:
        """All of them, those of the options' servers too. Raises LoadFailed where a server does not answer."""
        for server in options.rpc or ():
            try:
                self._reach(server)
            except LookupError as error:
                raise LoadFailed(model, str(error)) from error
        return self._library.list_accelerators(list_lost(self._servers))

    def _reach(self, named: str) -> None:
        """Raises LookupError, whose words are a sentence."""
        try:
            server = format_endpoint(named)
        except ValueError as error:
            raise LookupError(str(error)) from error
        if server in self._servers:
            check_server(server)
            return
        if not self._servers:
            with suppress(AttributeError):
                self._library.watch_aborts(self._tell_end)
        self._servers[server] = None
        try:
            add_server(self._library, server)
        except LookupError:
            del self._servers[server]
            raise

    def _tell_end(self, said: str) -> None:
        """On the thread that ends the process when this returns."""
        if "rpc" in said.lower():
            open_last_moments().spend(explain_loss(self._servers))
        else:
            # On standard error, whatever Python calls so at the moment, as the library itself would have.
            os.write(2, f"{said}\n".encode())

    def find_buffers(self, rule: TensorRule, devices: Mapping[str, GgmlDevice]) -> int:
        """The type of buffers where the tensors of a rule are to lie."""
        if rule.device == HOST:
            return self._library.get_host_buffers()
        return self._library.get_buffers(devices[rule.device])


@cache
def open_native_devices() -> NativeDevices:
    """Those of the process: a library's devices never leave it."""
    return NativeDevices()


class PlacedParameters:
    """What the parameters of a load point to. It must be kept until the model is loaded."""

    def __init__(self, placement: Placement, devices: Mapping[str, GgmlDevice]) -> None:
        handles = [devices[name].handle for name in placement.devices]
        self._devices = (ctypes.c_void_p * (len(handles) + 1))(*handles, None)
        shares = (*placement.shares, *(0.0,) * (native.llama_max_devices() - len(placement.shares)))
        self._shares = (ctypes.c_float * len(shares))(*shares)
        rules = list(list_rules(placement))
        found = [(rule.pattern.encode(), open_native_devices().find_buffers(rule, devices)) for rule in rules]
        self._overrides = (_Override * (len(rules) + 1))(*(_Override(*each) for each in found), _Override(None, None))
        self._placement = placement

    def write_model(self, parameters: native.llama_model_params) -> None:
        """Into the parameters of a model."""
        placement = self._placement
        parameters.devices = ctypes.cast(self._devices, ctypes.c_void_p)  # type: ignore[assignment]
        parameters.n_gpu_layers = placement.count_layers(1 << 20)
        parameters.split_mode = MODES[placement.split]
        parameters.main_gpu = placement.main
        if placement.shares:
            parameters.tensor_split = self._shares
        if len(self._overrides) > 1:
            overrides = ctypes.cast(self._overrides, ctypes.c_void_p)
            parameters.tensor_buft_overrides = overrides  # type: ignore[assignment]


def write_placement(parameters: native.llama_model_params, options: LoadOptions, model: str) -> PlacedParameters | None:
    """Write the placement of the options, if there is one, into the parameters of a model, which point to what is
    returned. Raises LoadFailed for a device that is not there."""
    placement = options.placement
    if placement is None:
        return None
    there: dict[str, GgmlDevice] = {}
    if any(name != HOST for name in list_named(placement)):
        there = {each.device.id: each for each in open_native_devices().list_reached(options, model)}
    for name in list_named(placement):
        if name != HOST and name not in there:
            known = ", ".join(there) or "none"
            raise LoadFailed(
                model, f"The device {name} is not there, on which {model} was to lie; llama.cpp has these: {known}."
            )
    placed = PlacedParameters(placement, there)
    placed.write_model(parameters)
    return placed


def write_offloading(parameters: native.llama_context_params, options: LoadOptions) -> None:
    """Write the placement of the options, if there is one, into the parameters of a context."""
    if options.placement is not None:
        parameters.offload_kqv = options.placement.kv_offload
        parameters.op_offload = options.placement.op_offload


def settle_attention(
    model: native.llama_model_p, parameters: native.llama_context_params, options: LoadOptions
) -> None:
    """Decide on flash attention where llama.cpp, left to itself, would do without it: it takes a device that computes
    for layers of the host, or a host that keeps the KV cache of a device's layers, for a device without the kernels.
    The scores of all heads would have to lie somewhere then, and a KV cache in fewer bits could not be."""
    placement = options.placement
    if options.flash_attention is not None or options.reproducible or placement is None or placement.on_host:
        return
    if not placement.kv_offload:
        # The processor computes it, and has all kernels.
        parameters.flash_attn_type = native.LLAMA_FLASH_ATTN_TYPE_ENABLED
        return
    blocks = native.llama_model_n_layer(model)
    if not placement.op_offload or placement.count_layers(blocks) > blocks:
        return
    said = open_native_log()
    # Where no device helps with what lies elsewhere, it looks at the layers of the devices alone.
    parameters.op_offload = False
    with said.aside():
        context = native.llama_init_from_model(model, parameters)
    parameters.op_offload = True
    if context is None:
        # The next try fails as well, and its reason is told.
        return
    native.llama_free(context)
    dropped = said.dropped_flash_attention
    enabled, disabled = native.LLAMA_FLASH_ATTN_TYPE_ENABLED, native.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.flash_attn_type = disabled if dropped else enabled


def explain_refusal(reason: str) -> str | None:
    """A sentence for what llama.cpp says of a placement that it cannot have; None where it says something else."""
    if "does not support split buffers" in reason:
        device = reason.removeprefix("device ").partition(" ")[0]
        return f"{device} cannot share a model by rows; leave --split-mode at layer."
    if "regular expression" in reason or "regex" in reason:
        return f"A pattern of --override-tensor cannot be read: {reason}."
    return None


def choose_load_mode(placement: Placement | None, *, safe: bool) -> int:
    """How the file is read. `safe`: it may be mapped, for nobody writes it anew."""
    wished = placement.mapped if placement is not None else None
    if placement is not None and placement.locked:
        mapped = safe if wished is None else wished
        return int(native.LLAMA_LOAD_MODE_MMAP_MLOCK if mapped else native.LLAMA_LOAD_MODE_MLOCK)
    if wished is None:
        # By itself llama.cpp maps the file wherever the devices can read it so.
        return int(native.LLAMA_LOAD_MODE_AUTO if safe else native.LLAMA_LOAD_MODE_NONE)
    return int(native.LLAMA_LOAD_MODE_MMAP if wished else native.LLAMA_LOAD_MODE_NONE)


def list_rules(placement: Placement) -> Iterator[TensorRule]:
    """All rules, those for experts behind the others; the first that a name matches is followed."""
    yield from placement.rules
    if placement.expert_layers:
        blocks = "|".join(map(str, range(placement.expert_layers)))
        yield TensorRule(rf"blk\.({blocks}){EXPERTS.pattern}", HOST)


def list_named(placement: Placement) -> tuple[str, ...]:
    """The ids of all devices that a placement names."""
    return (*placement.devices, *(rule.device for rule in placement.rules))


def list_placed(placement: Placement | None) -> tuple[str, ...]:
    """The ids of the accelerators that have a part of the model."""
    return () if placement is None else tuple(dict.fromkeys(name for name in list_named(placement) if name != HOST))
