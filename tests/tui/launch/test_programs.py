"""What each program is given: the model for all it asks for, the context, the key; nothing of the user's is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import UsageError
from tui.launch.folder import fill_folder
from tui.launch.printing import write_shell_lines
from tui.launch.program import Endpoint, Launchable, LaunchSetup, UserFiles
from tui.launch.programs.claude import TIERS
from tui.launch.programs.registry import PROGRAMS, find_command, find_program
from tui.launch.reach import check_context

SERVED = Endpoint("http://127.0.0.1:8080", "owner/a-model:Q4_K_M", 40_960, "a-secret-key")


def set_up(name: str, tmp_path: Path, endpoint: Endpoint = SERVED) -> tuple[LaunchSetup, str]:
    """The setup, and all that it says, files included."""
    folder = tmp_path / "folder"
    setup = find_program(name).configure(endpoint, folder, UserFiles(tmp_path / "home", {}))
    fill_folder(folder, setup)
    files = [file.read_text() for file in folder.rglob("*") if file.is_file()]
    return setup, "\n".join([*setup.environment.values(), *setup.arguments, *files])


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.name)
def test_a_program_is_told_the_address_the_model_and_the_key(program: Launchable, tmp_path: Path) -> None:
    _, told = set_up(program.name, tmp_path)
    assert SERVED.url in told
    assert SERVED.model in told
    assert "a-secret-key" in told


@pytest.mark.parametrize("program", [each for each in PROGRAMS if each.name != "llm"], ids=lambda each: each.name)
def test_a_program_that_sums_up_what_was_said_is_told_when(program: Launchable, tmp_path: Path) -> None:
    _, told = set_up(program.name, tmp_path)
    assert "40960" in told


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.name)
def test_the_key_is_no_argument_which_other_users_of_the_machine_could_see(program: Launchable, tmp_path: Path) -> None:
    setup, _ = set_up(program.name, tmp_path)
    assert not any("a-secret-key" in word for word in setup.arguments)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.name)
def test_nothing_is_written_where_the_user_has_things(program: Launchable, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for place in (".config/opencode/opencode.json", ".claude.json", ".claude/settings.json", ".qwen/settings.json"):
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text('{"mine": true}')
    before = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    set_up(program.name, tmp_path)
    assert {file: file.read_bytes() for file in home.rglob("*") if file.is_file()} == before


def test_claude_code_asks_for_the_model_at_every_tier(tmp_path: Path) -> None:
    setup, _ = set_up("claude", tmp_path)
    assert {setup.environment[name] for name in TIERS} == {SERVED.model}


def test_claude_code_goes_on_with_the_users_settings_but_not_with_the_account(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".claude" / "skills").mkdir(parents=True)
    (home / ".claude" / "skills" / "a.md").write_text("A skill.")
    (home / ".claude.json").write_text(json.dumps({"theme": "light", "oauthAccount": {"email": "someone"}}))
    set_up("claude", tmp_path)
    kept = json.loads((tmp_path / "folder" / "claude" / ".claude.json").read_text())
    assert kept == {"theme": "light", "hasCompletedOnboarding": True}
    assert (tmp_path / "folder" / "claude" / "skills" / "a.md").read_text() == "A skill."


def test_variables_of_the_users_settings_lose_against_those_of_the_launch(tmp_path: Path) -> None:
    setup, _ = set_up("claude", tmp_path)
    flag, file = setup.arguments
    assert flag == "--settings"
    assert json.loads(Path(file).read_text())["env"]["ANTHROPIC_BASE_URL"] == SERVED.url


def test_codex_finds_the_key_in_its_environment_and_needs_none_where_none_is_asked_for(tmp_path: Path) -> None:
    setup, _ = set_up("codex", tmp_path)
    provider = next(word for word in setup.arguments if word.startswith("model_providers."))
    name = provider.partition('env_key = "')[2].partition('"')[0]
    assert setup.environment[name] == "a-secret-key"
    setup, told = set_up("codex", tmp_path / "open", Endpoint(SERVED.url, SERVED.model, SERVED.context))
    assert "env_key" not in told


def test_what_is_printed_sets_the_same_when_a_shell_runs_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    program = find_program("llm")
    setup = program.configure(SERVED, folder, UserFiles(tmp_path / "home", {}))
    lines = [*write_shell_lines(program, setup, folder, ("a prompt",))]
    assert f"export LLM_MODEL={SERVED.model}" in lines
    assert lines[-1] == "llm 'a prompt'"
    assert str(folder / "llm" / "default_model.txt") in "\n".join(lines)


def test_a_context_that_its_instructions_would_fill_is_refused_with_both_numbers() -> None:
    small = Endpoint(SERVED.url, "small", 4096)
    with pytest.raises(UsageError, match=r"Claude Code needs a context of 24,576 tokens at least, and small has 4,096"):
        check_context(small, find_program("claude"))


def test_a_program_that_is_not_installed_says_how_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="`npm install -g @openai/codex` installs it"):
        find_command(find_program("codex"))


def test_an_unknown_program_is_told_which_there_are() -> None:
    with pytest.raises(UsageError, match="there is claude, codex, opencode, qwen, cline, aider, llm"):
        find_program("emacs")
