"""A template comes with a download: whatever it does, its process ends in time, and the workbench is unharmed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from core.chat.process import TemplateProcess
from core.chat.wire import Render, Rendered, TemplateBroken
from core.confined.process import ProcessEnded
from core.errors import RequestError, TemplateFailed
from tests.core.chat.conftest import Open
from tests.fakes.support import said

ENDLESS = "{% for a in range(99999) %}" * 4 + "{% endfor %}" * 4
POWER = "{{ 9**(9**9) }}"
WHEN_ASKED = (
    "{% if messages[0].content == 'go' %}HOSTILE{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
)
SECONDS = 1.0
"""That templates have here; those that are to end do so at once."""


Running = Callable[[], set[int]]


@pytest.fixture
def running() -> Running:
    """Process ids of the children that render chat templates, but for those of models that other tests still serve."""
    others = find_children()
    return lambda: find_children() - others


def find_children() -> set[int]:
    """Process ids of the children that render chat templates."""
    return {
        child.pid
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "core.chat.worker" in child.cmdline()
    }


@pytest.mark.parametrize(
    "hostile",
    [ENDLESS, POWER, "{{ lipsum(n=10**6) }}", "{{ ('x ' * 10**7)|wordwrap(1, wrapstring='yy') }}"],
    ids=["loops", "power", "lipsum", "wordwrap"],
)
def test_a_template_that_takes_for_ever_is_found_when_it_is_loaded(hostile: str, opened: Open) -> None:
    template = opened(hostile + "{{ messages[0].content }}", seconds=SECONDS)
    assert template.notes[0].startswith("Its chat template cannot be used: it takes longer than 1 s")
    assert "<|im_start|>user\nx" in template.render([said("x")]).text


@pytest.mark.parametrize("hostile", [ENDLESS, "{{ 9**(9**(8 + messages|length)) }}"], ids=["loops", "power"])
def test_one_that_takes_for_ever_only_when_asked_is_ended_and_starts_anew(
    hostile: str, opened: Open, running: Running
) -> None:
    template = opened(WHEN_ASKED.replace("HOSTILE", hostile), seconds=SECONDS, model="m")
    assert template.notes == ()
    before = running()
    with pytest.raises(TemplateFailed, match="The chat template of m takes longer than 1 s"):
        template.render([said("go")])
    assert template.render([said("x")]).text == "<user>x"
    assert not before & running()


@pytest.mark.parametrize(
    "hostile",
    [
        "{{ 'x' * 10**10 }}",
        "{{ ['x'] * 10**10 }}",
        "{{ '%1000000000000d' % 1 }}",
        "{{ '{:>10000000000}'.format(1) }}",
        "{{ 'a'.ljust(10**10) }}",
        "{{ 'a'.center(10**10) }}",
        "{{ 'a'|center(10**10) }}",
        "{{ '1'.zfill(10**10) }}",
        "{{ {'a': 1}|tojson(indent=10**10) }}",
        "{{ ('x' * 10**7) * 3 }}",
        "{% for a in range(1000) %}{{ 'x' * 10**6 }}{% endfor %}",
        "{% set ns = namespace(x='x') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{{ 'x'|indent(10**10, true) }}",
        "{{ [1]|batch(10**10, 'x')|list }}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{{ raise_exception('x' * 10**8) }}",
        "{{ ['a']|map('nosuch')|list }}",
        "{{ namespace(__class__=1) }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ joiner()|attr('__class__') }}{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ dict.__class__ }}{{ 1 + dict }}",
        "{{ self._TemplateReference__context.environment }}{{ self.x() }}",
        "{{ '{0.__class__}'.format(1)[99999].x }}",
        "{{ messages|sum }}",
        "{{ messages|groupby('x')|tojson }}",
        "{{ 10**(4400 + messages|length) }}",
        "{{ 1.0 * 10**400 }}",
        "{{ 'x'.encode('ascii').decode('utf-16') }}",
        "{{ messages|random|dictsort(by='z') }}",
    ],
)
def test_one_that_fails_only_when_asked_is_told_in_a_sentence(hostile: str, opened: Open) -> None:
    template = opened(WHEN_ASKED.replace("HOSTILE", hostile), model="m")
    with pytest.raises((TemplateFailed, RequestError)) as error:
        template.render([said("go")])
    told = str(error.value)
    assert told.startswith("The chat template of m ")
    assert told.isprintable()
    assert len(told) < 500
    assert template.render([said("x")]).text == "<user>x"


def test_a_process_that_the_system_ends_is_told_and_started_again(opened: Open, running: Running) -> None:
    process = TemplateProcess("{{ x }}")
    try:
        process.compile()
        (child,) = map(psutil.Process, running())
        child.kill()
        with pytest.raises(ProcessEnded, match="SIGKILL|exit code"):
            process.render(Render({"x": 1}))
        assert process.render(Render({"x": 2})) == Rendered("2")
    finally:
        process.close()


def test_a_stopped_process_is_ended_like_one_that_computes(running: Running) -> None:
    process = TemplateProcess("{{ x }}", seconds=SECONDS)
    try:
        process.compile()
        (child,) = map(psutil.Process, running())
        child.suspend()
        with pytest.raises(ProcessEnded, match="takes longer"):
            process.render(Render({"x": "x" * 1_000_000}))
    finally:
        process.close()


def test_a_process_that_the_machine_gives_no_time_is_waited_for(running: Running) -> None:
    process = TemplateProcess("{{ x }}", seconds=SECONDS, clock_factor=30)
    try:
        process.compile()
        (child,) = map(psutil.Process, running())
        child.suspend()
        resuming = threading.Timer(1.3 * SECONDS, child.resume)
        resuming.start()
        assert process.render(Render({"x": "late"})) == Rendered("late")
        resuming.join()
    finally:
        process.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the priority of a thread")
def test_an_order_that_takes_long_gives_way_to_models(running: Running) -> None:
    process = TemplateProcess("{% if x %}" + ENDLESS + "{% endif %}", seconds=60)
    process.compile()
    (child,) = map(psutil.Process, running())
    before = os.getpriority(os.PRIO_PROCESS, child.pid)
    rendering = threading.Thread(target=lambda: suppress_ended(process))
    rendering.start()
    while before < 19 and before == max(os.getpriority(os.PRIO_PROCESS, each.id) for each in child.threads()):
        assert rendering.is_alive()
        time.sleep(0.01)
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == before
    process.close()
    rendering.join(20)


def suppress_ended(process: TemplateProcess) -> None:
    with suppress(ProcessEnded):
        process.render(Render({"x": True}))


def test_closing_ends_a_rendering_under_way_and_all_after_it() -> None:
    process = TemplateProcess("{% if x %}" + ENDLESS + "{% endif %}", seconds=60)
    process.compile()
    raised: list[ProcessEnded] = []

    def render() -> None:
        try:
            process.render(Render({"x": True}))
        except ProcessEnded as error:
            raised.append(error)

    waiting = threading.Thread(target=render)
    waiting.start()
    process.close()
    waiting.join(30)
    assert len(raised) == 1
    with pytest.raises(ProcessEnded):
        process.render(Render({"x": False}))
    process.close()


def test_the_process_knows_no_secrets_and_has_no_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, running: Running
) -> None:
    monkeypatch.setenv("BENCHTOP_API_KEY", "sesame")
    monkeypatch.setenv("HF_TOKEN", "sesame")
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        process = TemplateProcess("{{ x }}")
        try:
            process.compile()
            (child,) = map(psutil.Process, running())
            assert "sesame" not in json.dumps(child.environ())
            assert not [each for each in child.open_files() if each.path.startswith(str(tmp_path))]
            assert os.getpgid(child.pid) != os.getpgid(0)
        finally:
            process.close()


@pytest.mark.skipif(sys.platform == "win32", reason="terminals there are other things")
def test_the_process_lets_go_of_the_terminal_of_its_workbench() -> None:
    pty = pytest.importorskip("pty")
    code = "\n".join(
        (
            "import os, psutil",
            "os.open(os.ttyname(0), os.O_RDWR)",
            "from core.chat.process import TemplateProcess",
            "process = TemplateProcess('{{ x }}')",
            "process.compile()",
            "told = [psutil.Process().terminal(), psutil.Process(process._child.pid).terminal()]",
            "process.close()",
            "print(told[0] is None, told[1] is None)",
        )
    )
    master, slave = pty.openpty()
    try:
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, check=False, stdin=slave, start_new_session=True, capture_output=True, text=True)
        assert done.stdout.split() == ["False", "True"], done.stderr
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no alarms")
def test_a_process_whose_workbench_dies_ends_by_itself() -> None:
    code = "\n".join(
        (
            "import sys, time",
            "from core.chat.process import TemplateProcess",
            "process = TemplateProcess('{{ x }}')",
            "process.compile()",
            "print(process._child.pid, flush=True)",
            "time.sleep(600)",
        )
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_source_that_does_not_compile_is_told_at_every_order() -> None:
    process = TemplateProcess("{% for %}")
    try:
        assert isinstance(process.compile(), TemplateBroken)
        assert isinstance(process.render(Render({})), TemplateBroken)
    finally:
        process.close()


def test_a_process_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, opened: Open, tmp_path: Path) -> None:
    (tmp_path / "jinja2.py").write_text("raise ImportError('jinja2 is broken here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    template = opened("{{ messages[0].content }}")
    assert "jinja2 is broken here" in template.notes[0]
