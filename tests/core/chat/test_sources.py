"""Chat templates are found wherever public models keep them, and the user's own goes before them."""

import json
from pathlib import Path

import pytest

from core.chat.common_templates import COMMON_TEMPLATES
from core.chat.sources import TemplateChoice, choose_templates, read_templates
from core.errors import LoadFailed

NAMED = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R"}]
OWN = {each["name"]: each["template"] for each in NAMED}


def test_fields_of_the_configuration_may_hold_one_or_several(tmp_path: Path) -> None:
    assert read_templates(tmp_path, {"chat_template": "D"}) == {"default": "D"}
    assert read_templates(tmp_path, {"chat_template": NAMED}) == OWN
    assert read_templates(tmp_path, {"chat_template": OWN}) == OWN
    for nothing in ("", None, 7, [7], [{"name": 1, "template": "x"}], {"default": None}):
        assert read_templates(tmp_path, {"chat_template": nothing}) == {}


def test_files_go_before_fields(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "J"}))
    assert read_templates(tmp_path, {"chat_template": NAMED}) == {**OWN, "default": "J"}
    (tmp_path / "chat_template.jinja").write_text("\ufeffF")
    for folder, name in (("additional_chat_templates", "tool_use"), ("chat_templates", "more")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.jinja").write_text(name)
    assert read_templates(tmp_path, {"chat_template": NAMED}) == {
        "default": "F",
        "tool_use": "tool_use",
        "rag": "R",
        "more": "more",
    }


def test_a_damaged_or_enormous_file_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text("[")
    (tmp_path / "chat_template.jinja").write_bytes(b"x" * 4_000_001)
    assert read_templates(tmp_path, {"chat_template": "D"}) == {"default": "D"}


def test_requests_with_tools_have_a_template_of_their_own_where_the_model_has_one() -> None:
    assert choose_templates(OWN, None, "m") == TemplateChoice("D", "T")
    assert choose_templates({"default": "D"}, None, "m") == TemplateChoice("D")
    assert choose_templates({"tool_use": "T"}, None, "m") == TemplateChoice("T")
    assert choose_templates({}, None, "m") == TemplateChoice()


def test_the_user_may_name_a_template_of_the_model_or_write_one() -> None:
    assert choose_templates(OWN, "rag", "m") == TemplateChoice("R")
    assert choose_templates(OWN, "{{ messages }}", "m") == TemplateChoice("{{ messages }}")
    assert choose_templates(OWN, ("{{ bos_token }}", "{{ x }}\n"), "m") == TemplateChoice("{{ bos_token }}{{ x }}\n")


def test_the_user_may_name_a_common_template_unless_the_model_has_one_of_that_name() -> None:
    assert choose_templates(OWN, "llama3", "m") == TemplateChoice(COMMON_TEMPLATES["llama3"])
    assert choose_templates({"llama3": "L"}, "llama3", "m") == TemplateChoice("L")
    with pytest.raises(LoadFailed, match="any model can be given chatml, "):
        choose_templates(OWN, "lama3", "m")


def test_the_user_may_name_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("{{ mine }}")
    assert choose_templates(OWN, str(path), "m") == TemplateChoice("{{ mine }}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": NAMED}))
    assert choose_templates({}, str(tmp_path / "tokenizer_config.json"), "m") == TemplateChoice("D")


@pytest.mark.parametrize(
    ("wish", "words"),
    [("./none.jinja", "cannot be read"), ("ragged", "default, tool_use, rag"), ("./x.json", "holds no")],
)
def test_what_is_no_template_is_told_with_what_there_is(
    wish: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(LoadFailed, match=words):
        choose_templates(OWN, wish, "m")
