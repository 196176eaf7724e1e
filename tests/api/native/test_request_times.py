"""GET /v1/requests/{id} tells the times of a request that has ended, also of one whose model is gone or never came."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.http.callers import hide_others
from core.requests import Caller
from core.reuse import Cause, Reuse
from core.serving.report import RequestReport
from core.settings.schema import ServerSettings
from core.snapshots import RequestRow, RequestState
from core.telemetry.origin import RequestOrigin, TraceParent
from tests.api.conftest import chat_body, serving, settings_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_ended_request_tells_its_times_and_what_became_of_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.http.post("/v1/chat/completions", json=chat_body(max_tokens=4), headers={"x-request-id": "one"})
        told = (await served.http.get("/v1/requests/one")).json()
        assert (told["state"], told["outcome"], told["finish_reasons"]) == ("ended", "ok", ["length"])
        assert told["endpoint"] == "/v1/chat/completions"
        assert 0 <= told["started"] <= told["first_token"] <= told["elapsed"]
        assert told["decode_seconds"] > 0
        assert told["completion_tokens"] == 4
        await served.workbench.models.unload("echo")
        again = (await served.http.get("/v1/requests/one")).json()
        assert (again["state"], again["first_token"]) == ("ended", told["first_token"])


async def test_a_request_that_found_no_model_tells_why(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        body = chat_body(model="nobody-has-this")
        await served.http.post("/v1/chat/completions", json=body, headers={"x-request-id": "two"})
        told = (await served.http.get("/v1/requests/two")).json()
        assert (told["state"], told["outcome"], told["started"]) == ("ended", "not_found", None)
        assert "nobody-has-this" in told["error"]


class Reports:
    def __init__(self) -> None:
        self.told: list[RequestReport] = []

    def note_end(self, report: RequestReport) -> None:
        self.told.append(report)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_client_s_traceparent_goes_with_its_request(tmp_path: Path, path: str) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with serving(tmp_path) as served:
        reports = Reports()
        served.workbench.requests.observe(reports)
        headers = {"traceparent": f"00-{trace}-{span}-01"}
        await served.http.post(path, json=chat_body(max_tokens=2), headers=headers)
        await served.http.post(path, json=chat_body(max_tokens=2), headers={"traceparent": "nonsense"})
        first, second = (report.origin for report in reports.told)
    assert first == RequestOrigin(path, TraceParent(bytes.fromhex(trace), bytes.fromhex(span), sampled=True))
    assert second == RequestOrigin(path)


async def test_a_request_that_has_ended_is_told_to_the_holder_of_its_key_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('[one]\nkey = "one"\n[two]\nkey = "two"\n[chief]\nkey = "chief"\nadmin = true\n')
    async with serving(tmp_path, settings_of(ServerSettings(port=0, api_key_file=str(file)))) as served:
        headers = {"x-api-key": "one", "x-request-id": "mine"}
        await served.http.post("/v1/chat/completions", json=chat_body(model="nobody-has-this"), headers=headers)
        shown = [
            await served.http.get("/v1/requests/mine", headers={"x-api-key": key}) for key in ("one", "two", "chief")
        ]
        assert [each.status_code for each in shown] == [200, 404, 200]
        logs = [await served.http.get("/v1/logs", headers={"x-api-key": key}) for key in ("one", "chief")]
        assert [each.status_code for each in logs] == [403, 200]


async def test_of_two_keys_that_use_one_id_neither_is_told_of_the_others_request(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('[one]\nkey = "one"\n[two]\nkey = "two"\n')
    async with serving(tmp_path, settings_of(ServerSettings(port=0, api_key_file=str(file)))) as served:
        for key, model in (("one", "echo"), ("two", "nobody-has-this")):
            headers = {"x-api-key": key, "x-request-id": "ours"}
            await served.http.post("/v1/chat/completions", json=chat_body(model=model, max_tokens=2), headers=headers)
        first, second = [
            await served.http.get("/v1/requests/ours", headers={"x-api-key": key}) for key in ("one", "two")
        ]
        assert first.status_code == 404
        assert (second.json()["key"], second.json()["outcome"]) == ("two", "not_found")


async def test_whether_another_key_has_asked_the_same_is_told_to_admins_alone() -> None:
    row = RequestRow("id", "echo", RequestState.ENDED, key="one", reuse=Reuse(cause=Cause.OTHER_TENANT, lost=40))
    told = hide_others(row, Caller("one", admin=False)).reuse
    assert told == Reuse(cause=Cause.FIRST_SEEN, lost=40)
    assert hide_others(row, Caller("chief")) is row
