"""GET /v1/queue/stats: the waiting rooms of all models together."""

from __future__ import annotations

from litestar import get
from litestar.handlers import HTTPRouteHandler

from api.http.contract import declare_contract, reply_with
from core.snapshots import QueueStats, Snapshot
from core.workbench import Workbench


def build_queue_route(workbench: Workbench) -> HTTPRouteHandler:
    @get(
        "/v1/queue/stats",
        summary="The request queue in numbers",
        opt=declare_contract(reply_with(QueueStats, "The sums over all models"), sums=True),
    )
    async def queue_stats() -> QueueStats:
        return sum_queue(workbench.snapshot())

    return queue_stats


def sum_queue(snapshot: Snapshot) -> QueueStats:
    queues = [model.queue for model in snapshot.models]
    now = QueueStats(
        pending=sum(queue.pending for queue in queues),
        max_depth=sum(queue.max_depth for queue in queues),
        total_processed=sum(queue.total_processed for queue in queues),
        total_rejected=sum(queue.total_rejected for queue in queues),
        total_timed_out=sum(queue.total_timed_out for queue in queues),
        total_cancelled=sum(queue.total_cancelled for queue in queues),
        total_looped=sum(queue.total_looped for queue in queues),
    )
    return now.after(snapshot.pool.past_queue)
