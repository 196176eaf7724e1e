"""A plan in one line: what lies where, and why not all of it lies on the fastest memory."""

from __future__ import annotations

from core.models.fit.plan import DeviceShare, LoadPlan
from core.models.fit.records import FitRecord
from core.sizes import format_size


def describe_plan(plan: LoadPlan) -> str:
    """A sentence; the engine's own words for layers are used, with the output counted as one."""
    asked = ", as asked" if plan.wish.gpu_layers is not None or plan.wish.expert_layers is not None else ""
    if not plan.on_devices or not plan.placed:
        return f"{_describe_host(plan)}{_explain_lack(plan)}."
    return f"{describe_place(plan, sizes=True)}{asked}{_explain_rest(plan)}{_explain_lack(plan)}."


def describe_place(plan: LoadPlan, *, sizes: bool = False) -> str:
    """Where the layers lie, in a few words; with what each device has of its memory."""
    if not plan.placed:
        return "main memory"
    where = " and ".join(_describe_share(share, plan, sizes=sizes) for share in plan.on_devices if share.layers)
    if plan.placed < plan.layers:
        words = f"{plan.placed} of {plan.layers} layers on {where}"
    else:
        words = f"all {plan.layers} layers on {where}" if sizes else f"all on {where}"
    rest = []
    if plan.expert_layers:
        rest.append(f"experts of {plan.expert_layers} in main memory")
    if plan.placed < plan.layers and sizes:
        rest.append("the rest in main memory")
    if not plan.placement.kv_offload and sizes:
        rest.append("the KV cache in main memory")
    return ", ".join((words[:1].upper() + words[1:] if sizes else words, *rest))


def describe_load(record: FitRecord) -> str:
    """What a load took of each memory, beside what had been estimated of it."""
    taken = " and ".join(
        f"{format_size(each.measured)} of {each.device or 'main memory'} ({format_size(each.estimated)} estimated)"
        for each in record.devices
    )
    return f"Loaded here last with {record.context:,} tokens of KV {record.kv.value}, it took {taken}."


def _describe_share(share: DeviceShare, plan: LoadPlan, *, sizes: bool) -> str:
    several = sum(each.layers > 0 for each in plan.on_devices) > 1
    taken = format_size(share.parts.needed)
    # Both numbers in one unit, which is said once.
    number, _, unit = taken.partition(" ")
    room = format_size(share.room)
    have = f"{number} of {room}" if room.endswith(unit) else f"{taken} of {room}"
    inner = ", ".join([f"{share.layers} layer{'s'[: share.layers != 1]}"] * several + [have] * sizes)
    return f"{share.device.name} ({inner})" if inner else share.device.name


def _describe_host(plan: LoadPlan) -> str:
    host = plan.host
    words = f"All of it in main memory ({format_size(host.parts.needed)} of {format_size(host.room)})"
    if plan.wish.gpu_layers == 0:
        return f"{words}, as asked"
    return f"{words}: no accelerator has room for a layer" if plan.whole else words


def _explain_rest(plan: LoadPlan) -> str:
    """Why not all of it lies on the devices."""
    if plan.placed == plan.layers and not plan.expert_layers:
        return ""
    return f": all would take {format_size(plan.whole)}" if plan.whole else ""


def _explain_lack(plan: LoadPlan) -> str:
    if not plan.lacking:
        return ""
    short = [share for share in plan.shares if share.lacking]
    where = " and ".join("main memory" if not share.device.id else share.device.name for share in short)
    return f"; it does not fit: {format_size(plan.lacking)} are lacking{f' on {where}' if where else ''}"
