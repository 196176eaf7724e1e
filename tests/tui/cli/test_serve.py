"""`tui --serve` as a user meets it: a process of its own, models of a Hub on loopback, clients over HTTP."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.guide import WEIGHTS
from tests.fakes.hub import LoopbackHub
from tests.fakes.processes import PATIENCE_SECONDS, isolate, serve_command, serving

NAME = "owner/guide-GGUF"
QUICK = ("--engine", "llamacpp")


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add(NAME, {"guide-F16.gguf": WEIGHTS.read_bytes()})
        yield hub


def environment(home: Path, hub: LoopbackHub | None = None) -> dict[str, str]:
    where = {"HF_ENDPOINT": hub.url} if hub else {"HF_HUB_OFFLINE": "1"}
    return isolate(home, BENCHTOP_DOWNLOADS_RESERVE="0", **where)


def asked(model: str, text: str = "What is a KV cache?", **fields: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 16} | fields


def test_a_model_that_is_not_here_is_not_downloaded_unasked(hub: LoopbackHub, tmp_path: Path) -> None:
    done = subprocess.run(
        serve_command(NAME, *QUICK),
        env=environment(tmp_path, hub),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"tui: {NAME} is not on this machine; `tui pull {NAME}` downloads it.\n"
    assert not list(tmp_path.rglob("*.gguf"))


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM")
def test_with_pull_it_is_downloaded_served_and_answers(hub: LoopbackHub, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(log, NAME, "--pull", *QUICK, env=environment(tmp_path, hub)) as url:
        told = log.read_text()
        answer = httpx.post(f"{url}/v1/chat/completions", json=asked(NAME), timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"]
    assert f"{NAME}:F16 is not on this machine: 7.4 MB to download; it fits" in told
    sent = hub.bytes_sent("/cdn/*")
    with serving(log, NAME, *QUICK, env=environment(tmp_path)):
        assert hub.bytes_sent("/cdn/*") == sent


@pytest.mark.skipif(sys.platform == "win32", reason="wants a pseudo-terminal")
@pytest.mark.parametrize(("answer", "said", "status"), [("n", "was not downloaded", 130), ("y", "Serving", 0)])
def test_on_a_terminal_it_is_asked_for(hub: LoopbackHub, tmp_path: Path, answer: str, said: str, status: int) -> None:
    import pexpect

    program, *words = serve_command(NAME, *QUICK)
    child = pexpect.spawn(
        program,
        words,
        env=environment(tmp_path, hub) | {"TERM": "xterm-256color"},
        dimensions=(24, 200),
        encoding="utf-8",
        timeout=PATIENCE_SECONDS,
    )
    child.expect(r"is not on this machine: 7\.4 MB to download; it fits with a context of [\d,]+ tokens")
    child.expect(r"Download it\?")
    child.sendline(answer)
    child.expect(said)
    if answer == "y":
        child.kill(signal.SIGTERM)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == status


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM")
def test_three_models_in_the_room_of_two_answer_two_hundred_requests(tmp_path: Path) -> None:
    for name in "abc":
        shutil.copy(WEIGHTS, tmp_path / f"{name}.gguf")
    models = "\n".join(f"[models.{name}]\nsource = '{tmp_path / name}.gguf'" for name in "abc")
    # Each takes about 80 MB: 7 of weights, 67 of KV cache for the slots.
    settings = f"[pool]\nmemory_limit = '200MB'\n[queue]\nmax_queue = 0\n[model]\nslots = 16\nctx_size = 2048\n{models}"
    (tmp_path / "config.toml").write_text(settings)
    log = tmp_path / "log"
    with serving(log, "-C", str(tmp_path / "config.toml"), *QUICK, env=environment(tmp_path)) as url:
        failures, most = asyncio.run(many(url, 200))
    assert failures == []
    assert most == 2
    assert log.read_text().count("model evicted") > 2


async def many(url: str, count: int) -> tuple[list[str], int]:
    """What went wrong with mixed requests, twelve at a time, and the most models that were ready at once."""
    chance = random.Random(7)
    gate = asyncio.Semaphore(12)
    failures: list[str] = []
    most = 0

    async def one(number: int, model: str, stream: bool) -> None:
        nonlocal most
        async with gate:
            body = asked(model, f"What is {number}?", stream=stream)
            answer = await client.post("/v1/chat/completions", json=body)
            whole = "[DONE]" in answer.text if stream else '"finish_reason"' in answer.text
            if answer.status_code != 200 or not whole or '"error"' in answer.text:
                failures.append(f"{model}: {answer.status_code} {answer.text[-200:]}")
            models = (await client.get("/v1/models")).json()["data"]
            most = max(most, sum(model["state"] == "ready" for model in models))

    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as client:
        await asyncio.gather(*(one(number, chance.choice("abc"), chance.random() < 0.5) for number in range(count)))
    return failures, most
