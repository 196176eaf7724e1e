"""`tui pull` as a user meets it: a process of its own against a Hub on loopback."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.guide import WEIGHTS
from core.models.downloads.journal import Added, DownloadJournal, Moved
from core.models.downloads.status import DownloadState
from core.models.hub.repository import Quant, RepoFile
from tests.fakes.hub import Fault, LoopbackHub, Sparse
from tests.fakes.processes import isolate
from tui.cli.pull import format_duration

PATIENCE = 60.0
ROOT = Path(__file__).parents[3]
MB = 1_000_000
NAME = "owner/model-GGUF"


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add(NAME, {"model-Q4_K_M.gguf": Sparse(4 * MB), "model-Q8_0.gguf": Sparse(8 * MB, seed=1)})
        yield hub


def environment(hub: LoopbackHub, home: Path) -> dict[str, str]:
    told = {"BENCHTOP_DOWNLOADS_RESERVE": "0", "HF_ENDPOINT": hub.url, "COLUMNS": "200"}
    return isolate(home, **told, BENCHTOP_HOME=str(home / "benchtop"))


def start(hub: LoopbackHub, home: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    """In the folder `here` of `home`."""
    here = home / "here"
    here.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tui.cli.main", "pull", *words],
        env=environment(hub, home) | {"PYTHONPATH": str(ROOT)} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=here,
    )


def end(child: subprocess.Popen[str]) -> tuple[int, list[str]]:
    out, err = child.communicate(timeout=PATIENCE)
    assert "Traceback" not in err, err
    assert out == ""
    return child.returncode, err.splitlines()


def test_a_name_and_its_quant_are_downloaded_and_told_of_in_lines(hub: LoopbackHub, tmp_path: Path) -> None:
    code, lines = end(start(hub, tmp_path, f"{NAME}:Q8_0"))
    assert code == 0
    assert lines[-1] == f"{NAME}:Q8_0 is here (8.0 MB); `tui {NAME}:Q8_0` opens it."
    assert f"{NAME}:Q8_0: done, 8.0 MB of 8.0 MB" in lines
    (found,) = (tmp_path / "hf" / "hub").rglob("snapshots/*/*.gguf")
    assert found.stat().st_size == 8 * MB
    assert hub.bytes_sent("/cdn/*") >= 8 * MB


def test_a_second_pull_says_what_the_first_is_at(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults.append(Fault("/cdn/*Q8_0.gguf", stall_after=3 * MB, times=None))
    first = start(hub, tmp_path, f"{NAME}:Q8_0")
    assert first.stderr is not None
    next(line for line in first.stderr if "3.0 MB of 8.0 MB" in line)
    code, lines = end(start(hub, tmp_path, f"{NAME}:Q4_K_M"))
    assert code == 1
    said = f"Another benchtop is downloading {NAME}:Q8_0; wait until that is done, or pause it there."
    assert lines[-1] == f"tui: {said}"
    first.kill()
    first.communicate(timeout=PATIENCE)
    assert end(start(hub, tmp_path, f"{NAME}:Q4_K_M"))[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_pauses_and_says_how_to_go_on(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults.append(Fault("/cdn/*Q8_0.gguf", stall_after=3 * MB, times=None))
    child = start(hub, tmp_path, f"{NAME}:Q8_0")
    assert child.stderr is not None
    before = next(line for line in child.stderr if "3.0 MB of 8.0 MB" in line)
    assert before.startswith(f"{NAME}:Q8_0: running")
    child.send_signal(signal.SIGINT)
    code, lines = end(child)
    assert code == 130
    assert lines[-1] == f"Paused with 3.0 MB of 8.0 MB here; `tui pull {NAME}:Q8_0` goes on from there."
    sent = hub.bytes_sent("/cdn/*Q8_0.gguf")
    hub.faults.clear()
    assert end(start(hub, tmp_path, f"{NAME}:Q8_0"))[0] == 0
    # Beside what was missing, the beginning is read once more to tell whether the model fits.
    assert hub.bytes_sent("/cdn/*Q8_0.gguf") - sent == 5 * MB + (1 << 20)


@pytest.mark.parametrize(
    ("name", "said", "status"),
    [
        ("guide", "comes with benchtop", 2),
        ("nobody/nothing", "has no repository nobody/nothing", 2),
        (f"{NAME}:Q2_K", "has no Q2_K; it has Q4_K_M, Q8_0", 2),
        (f"{NAME}/../../x", "outside its repository", 2),
        ("/no/such.gguf", "is a path on this machine", 2),
    ],
)
def test_what_cannot_be_pulled_is_one_sentence(
    hub: LoopbackHub, tmp_path: Path, name: str, said: str, status: int
) -> None:
    code, lines = end(start(hub, tmp_path, name))
    assert code == status
    (line,) = lines
    assert said in line
    assert not list((tmp_path).rglob("snapshots"))


def test_a_download_that_fails_is_one_sentence_and_exit_code_one(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults.append(Fault("/cdn/*Q4_K_M.gguf", method="GET", corrupt=True, times=None))
    code, lines = end(start(hub, tmp_path, f"{NAME}:Q4_K_M"))
    assert code == 1
    assert "its checksum differs, so it was deleted" in lines[-1]


def test_offline_nothing_is_asked(hub: LoopbackHub, tmp_path: Path) -> None:
    code, lines = end(start(hub, tmp_path, NAME, HF_HUB_OFFLINE="1"))
    assert code == 1
    assert "HF_HUB_OFFLINE is set" in lines[-1]
    assert hub.requests == []


@pytest.mark.skipif(sys.platform == "win32", reason="wants a pseudo-terminal")
def test_on_a_terminal_one_line_shows_how_far_it_is(hub: LoopbackHub, tmp_path: Path) -> None:
    import pexpect

    hub.faults.append(Fault("/cdn/*Q8_0.gguf", method="GET", rate=4.0 * MB, times=None))
    child = pexpect.spawn(
        sys.executable,
        ["-m", "tui.cli.main", "pull", f"{NAME}:Q8_0"],
        env=environment(hub, tmp_path) | {"TERM": "xterm-256color"},
        dimensions=(24, 120),
        encoding="utf-8",
        timeout=PATIENCE,
    )
    child.expect(r"MB of 8\.0 MB, \d+\.\d [kM]B/s, \d+ s left")
    child.expect("is here")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_durations_are_told_in_words() -> None:
    assert [format_duration(seconds) for seconds in (0.4, 59, 61, 3600, 7500)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "1 h 0 min",
        "2 h 5 min",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="a killed process is told by a signal")
def test_what_the_end_of_the_program_broke_off_goes_on_with_resume(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults.append(Fault("/cdn/*Q8_0.gguf", stall_after=3 * MB, times=None))
    child = start(hub, tmp_path, f"{NAME}:Q8_0")
    assert child.stderr is not None
    next(line for line in child.stderr if "3.0 MB of 8.0 MB" in line)
    child.kill()
    child.communicate(timeout=PATIENCE)
    hub.faults.clear()
    code, lines = end(start(hub, tmp_path, "--resume"))
    assert code == 0
    assert f"{NAME}:Q8_0 is here" in lines[-1]
    code, lines = end(start(hub, tmp_path, "--resume"))
    assert code == 0
    assert "No download is paused or was broken off" in lines[-1]


def test_what_cannot_go_on_is_told_and_the_rest_is_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    held = hub.find(NAME, "main")
    assert held is not None
    journal = DownloadJournal(tmp_path / "benchtop" / "state" / "downloads" / "journal.jsonl")
    for key, label, size in (("large", "Q8_0", 1 << 60), ("small", "Q4_K_M", 4 * MB)):
        files = (RepoFile(f"model-{label}.gguf", size, held.files[f"model-{label}.gguf"].sha256),)
        quant = Quant(NAME, held.commit, label, "gguf", files)
        journal.append(Added(key, quant), Moved(key, DownloadState.RUNNING))
    code, lines = end(start(hub, tmp_path, "--resume"))
    assert code == 1
    assert any(line.startswith(f"{NAME}:Q4_K_M is here") for line in lines)
    assert f"{NAME}:Q8_0 needs" in lines[-1]
    assert hub.bytes_sent("/cdn/*") == 4 * MB


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE"])
def test_an_empty_variable_counts_as_not_set(hub: LoopbackHub, tmp_path: Path, name: str) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "token").write_text("hf_reader")
    more = {"HF_HOME": "", "XDG_CACHE_HOME": str(tmp_path / "xdg"), name: ""}
    child = start(hub, tmp_path, f"{NAME}:Q4_K_M", **more)
    assert end(child)[0] == 0
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["token"]
    assert all("authorization" not in asked.headers for asked in hub.requests)
    assert len(list((tmp_path / "xdg" / "huggingface" / "hub").rglob("snapshots/*/*.gguf"))) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"HF_TOKEN": "\N{LEFT DOUBLE QUOTATION MARK}hf_abc\N{RIGHT DOUBLE QUOTATION MARK}"}, "correct HF_TOKEN"),
        ({"HF_TOKEN": "hf_a b"}, "correct HF_TOKEN"),
        ({"HF_ENDPOINT": "http://h..x"}, "correct HF_ENDPOINT"),
        ({"HF_ENDPOINT": "127.0.0.1:80"}, "correct HF_ENDPOINT"),
        ({"HTTP_PROXY": "foo://bar", "http_proxy": "foo://bar"}, "correct HTTP_PROXY"),
    ],
)
def test_an_environment_that_cannot_be_used_is_one_sentence(
    hub: LoopbackHub, tmp_path: Path, more: dict[str, str], said: str
) -> None:
    code, lines = end(start(hub, tmp_path, NAME, **more))
    assert code == 1
    (line,) = lines
    assert said in line
    assert "fault of benchtop" not in line


@pytest.mark.parametrize("words", [(), ("--resume", NAME)])
def test_pull_wants_one_model_or_to_resume(hub: LoopbackHub, tmp_path: Path, words: tuple[str, ...]) -> None:
    code, lines = end(start(hub, tmp_path, *words))
    assert code == 2
    assert "Name one MODEL to download" in lines[-1]


def test_what_was_paused_goes_on_with_resume_and_what_was_deleted_does_not(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults.append(Fault("/cdn/*Q8_0.gguf", stall_after=3 * MB, times=None))
    child = start(hub, tmp_path, f"{NAME}:Q8_0")
    assert child.stderr is not None
    next(line for line in child.stderr if "3.0 MB of 8.0 MB" in line)
    child.kill()
    child.communicate(timeout=PATIENCE)
    hub.faults.clear()
    removal = [sys.executable, "-m", "tui.cli.main", "rm", "--yes", NAME]
    done = subprocess.run(removal, env=environment(hub, tmp_path), capture_output=True, text=True, check=True)
    assert "3.0 MB became free" in done.stdout
    code, lines = end(start(hub, tmp_path, "--resume"))
    assert code == 0
    assert "No download is paused or was broken off" in lines[-1]


def test_before_a_download_it_is_told_whether_the_model_fits(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add("owner/guide-GGUF", {"guide-F16.gguf": WEIGHTS.read_bytes()})
    code, lines = end(start(hub, tmp_path, "owner/guide-GGUF"))
    assert code == 0
    assert lines[0].startswith("owner/guide-GGUF:F16: 7.4 MB; it fits with a context of 2,048 tokens")
