"""Clients load models with the options that are declared once, as far as these are theirs to give."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.native.models import LOAD_BODY, OPTIONS
from core.contract.declared import Declared, list_fields
from core.contract.options import LoadSettings
from core.errors import RequestError
from core.settings.schema import ProbeSettings, ServerSettings, Settings
from tests.api.conftest import serving


def test_every_load_option_is_a_field_but_files_of_this_machine_keys_and_other_machines() -> None:
    kept_back = {each.name for each in list_fields(LoadSettings)} - set(OPTIONS)
    assert kept_back == {"loras", "remote_api_key", "chat_template", "response_schema", "rpc"}
    assert set(LOAD_BODY.kind.__struct_fields__) == {"model", "pinned", *OPTIONS}


async def test_a_model_is_loaded_anew_with_other_options_and_stays_where_they_are_the_same(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:

        async def load(**options: object) -> int:
            answer = await served.http.post("/v1/models/load", json={"model": "echo", **options})
            assert answer.status_code == 200, answer.text
            return served.workbench.models.spec("echo").context

        usual = await load()
        assert await load(ctx_size=1024, slots=2, kv_type="q8_0") == 1024
        assert served.workbench.models.spec("echo").slots == 2
        assert await load(ctx_size=1024) == 1024
        assert await load() == 1024
        await served.http.post("/v1/models/unload", json={"model": "echo"})
        assert await load() == usual


async def test_a_model_that_is_loaded_with_bits_tells_the_type_of_its_kv_cache(tmp_path: Path) -> None:
    settings = Settings(server=ServerSettings(port=0), probe=ProbeSettings(enabled=False))
    async with serving(tmp_path, settings, "guide") as served:
        body = {"model": "guide", "kv_type": "4", "ctx_size": 256, "extra_buffers": False}
        assert (await served.http.post("/v1/models/load", json=body)).status_code == 200
        meta = (await served.http.get("/v1/models/guide")).json()["meta"]
        assert (meta["kv_type"], meta["kv_bytes_per_token"]) == ("q4_0", 4 * 2 * (64 + 64) * 18 // 32)


@pytest.mark.parametrize("field", [each for each in list_fields(LoadSettings) if each.most is not None])
def test_bounds_are_those_of_the_settings(field: Declared) -> None:
    name, most = field.name, int(field.most or 0)
    LOAD_BODY.decode(b'{"model": "m", "%s": %d}' % (name.encode(), most))
    with pytest.raises(RequestError) as error:
        LOAD_BODY.decode(b'{"model": "m", "%s": %d}' % (name.encode(), most + 1))
    assert error.value.field == name


def test_what_is_kept_back_may_stand_there_empty() -> None:
    assert LOAD_BODY.decode(b'{"model": "m", "loras": [], "remote_api_key": null}').ignored == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loras": ["/etc/passwd"]}, "`loras` is for the server's own settings alone: it names files of"),
        ({"remote_api_key": "k"}, "`remote_api_key` is for the server's own settings alone: it is a key"),
        ({"engine": "echo"}, "`engine` is for the server's own settings alone"),
        ({"draft": "guide"}, "`draft` is for the server's own settings alone"),
        ({"kv_type": "q9"}, "`kv_type` is wrong: it is none of f16, bf16,"),
        ({"ctx_size": 15}, "`ctx_size` is wrong: it is too small; at least 16."),
        ({"slots": "two"}, "`slots` is wrong: expected a whole number, got a text."),
        ({"threads": 999_999}, "`threads` is 999999, and this machine has"),
        ({"batch_threads": 999_999}, "`batch_threads` is 999999"),
    ],
)
async def test_what_is_not_a_clients_to_say_is_refused_by_name(
    tmp_path: Path, given: dict[str, object], said: str
) -> None:
    async with serving(tmp_path) as served:
        answer = await served.http.post("/v1/models/load", json={"model": "echo", **given})
        assert answer.status_code == 400
        assert said in answer.json()["error"]["message"]
