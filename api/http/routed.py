"""What tells a client which model was chosen for it, and why."""

from __future__ import annotations

from urllib.parse import quote

from api.http.replies import Headers
from core.requests import Generation


def build_route_headers(request: Generation) -> Headers:
    """None where the client itself named the model."""
    if not request.route:
        return ()
    model = quote(request.model, safe="/:@ ")
    return (b"x-benchtop-model", model.encode()), (b"x-benchtop-route", request.route.encode("ascii", "replace"))
