"""GET /v1/usage: what requests have used, by day, model and API key, as JSON or CSV."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from functools import partial
from typing import Final

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery
from msgspec import json

from api.http.callers import find_caller
from api.http.contract import JSON, RouteReply, declare_contract
from api.http.errors import Denied
from api.http.field_rules import Json
from core.errors import BenchtopError, Busy, RequestError
from core.usage import UsageBy, UsageReport, parse_since, write_csv
from core.workbench import Workbench

CSV: Final = "text/csv"
GROUPS: Final[list[Json]] = [each.value for each in UsageBy]
FORMATS: Final[list[Json]] = ["json", "csv"]
SINCE: Final = "A day, as 2026-03-04; `today`; or `7d`, the last seven days."
NO_ACCOUNT: Final = (404, "no_usage_kept")
Connection = Request[object, object, State]


def build_usage_route(workbench: Workbench) -> HTTPRouteHandler:
    @get(
        "/v1/usage",
        summary="What requests have used, by day, model and key: a key's own, an admin's all",
        opt=declare_contract(
            RouteReply("The account; as CSV with `format` or by the header `Accept`", {JSON: UsageReport, CSV: None}),
            outcomes=(RequestError, Busy, NO_ACCOUNT),
            parameters={"by": {"enum": GROUPS}, "format": {"enum": FORMATS}, "since": {"description": SINCE}},
        ),
    )
    async def show_usage(
        request: Connection,
        by: FromQuery[str | None] = None,
        since: FromQuery[str | None] = None,
        format: FromQuery[str | None] = None,  # noqa: A002 - the parameter's name on the wire
    ) -> Response[bytes]:
        if workbench.usage is None:
            raise Denied(*NO_ACCOUNT, "No account of usage is kept here; the setting usage.enabled switches it on.")
        caller = find_caller(request.scope["state"])
        now = datetime.now().astimezone()
        for name, value, choices in (("by", by, GROUPS), ("format", format, FORMATS)):
            if value is not None and value not in choices:
                raise RequestError(f"The parameter {name} must be one of {', '.join(map(str, choices))}.", name)
        try:
            first = None if since is None else parse_since(since, now.date())
        except ValueError as error:
            raise RequestError(f"The parameter since, {(since or '')[:64]!r}, {error}.", "since") from error
        summed = None if by is None else UsageBy(by)
        read = partial(workbench.usage.account.read, summed, since=first, key=None if caller.admin else caller.name)
        try:
            rows = await workbench.lanes.disk.run(read)
        except (sqlite3.Error, OSError) as error:
            raise BenchtopError("The account of usage cannot be read now; the server's log says why.") from error
        accepted = request.headers.get("accept", "")
        if format == "csv" or (format is None and "text/csv" in accepted):
            return Response(write_csv(rows, summed).encode(), media_type=CSV)
        return Response(json.encode(UsageReport.of(rows, first, now)), media_type=JSON)

    return show_usage
