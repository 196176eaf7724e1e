"""The facts guide is taught, and the texts drawn from them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import jinja2
import pytest

from core.guide.training.corpus import (
    CHAT_TEMPLATE,
    SPECIAL_TOKENS,
    Fact,
    build_prompt,
    list_heldout_forms,
    load_facts,
    normalise_text,
)
from core.guide.training.phrasing import Phrasings


@pytest.fixture(scope="module")
def facts() -> tuple[Fact, ...]:
    return load_facts()


def test_there_are_at_least_150_facts(facts: tuple[Fact, ...]) -> None:
    assert len(facts) >= 150


def test_every_fact_has_four_phrasings_and_two_held_out(facts: tuple[Fact, ...]) -> None:
    poor = [fact.id for fact in facts if len(fact.questions) < 4 or len(fact.heldout) < 2]
    assert poor == []


def test_ids_and_answers_are_unique(facts: tuple[Fact, ...]) -> None:
    assert len({fact.id for fact in facts}) == len(facts)
    assert len({fact.answer for fact in facts}) == len(facts)


def test_no_phrasing_stands_twice_and_so_none_held_out_is_trained(facts: tuple[Fact, ...]) -> None:
    forms = Counter(normalise_text(question) for fact in facts for question in (*fact.questions, *fact.heldout))
    assert [form for form, times in forms.items() if times > 1] == []


def test_drawn_questions_never_equal_a_held_out_phrasing(facts: tuple[Fact, ...]) -> None:
    phrasings, heldout = Phrasings(facts, random.Random(7)), list_heldout_forms(facts)
    drawn = {normalise_text(phrasings.draw(fact)) for fact in facts for _ in range(40)}
    assert not drawn & heldout


def test_the_same_seed_draws_the_same_questions(facts: tuple[Fact, ...]) -> None:
    first, second = (Phrasings(facts, random.Random(3)) for _ in range(2))
    assert [first.draw(fact) for fact in facts] == [second.draw(fact) for fact in facts]


def test_answers_are_short_plain_text(facts: tuple[Fact, ...]) -> None:
    assert [fact.id for fact in facts if not fact.answer.isascii() or len(fact.answer.split()) > 45] == []


def test_a_kv_cache_is_among_the_facts(facts: tuple[Fact, ...]) -> None:
    kv_cache = next(fact for fact in facts if fact.id == "kv-cache")
    assert "what is a KV cache?" in kv_cache.questions
    assert "attention keys and values" in kv_cache.answer


def test_the_chat_template_writes_what_training_read() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "what is GGUF?"},
    ]
    rendered = jinja2.Template(CHAT_TEMPLATE).render(messages=messages, add_generation_prompt=True)
    assert rendered == build_prompt("what is GGUF?", system="Be brief.", earlier=[("hi", "Hello!")])


def test_an_unknown_key_is_refused_by_file_and_fact(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text('[[fact]]\nid = "x"\nanswer = "y"\nquestion = ["z"]\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd\.toml, fact x: unknown keys \['question'\]"):
        load_facts(tmp_path)


def test_a_missing_key_is_refused_by_file_and_fact(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text('[[fact]]\nid = "x"\nanswer = "y"\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"short\.toml, fact x: .*questions"):
        load_facts(tmp_path)


def test_no_text_holds_a_control_token_which_would_end_an_answer_early(facts: tuple[Fact, ...]) -> None:
    texts = [text for fact in facts for text in (fact.answer, *fact.questions, *fact.heldout)]
    assert [text for text in texts if any(token in text for token in SPECIAL_TOKENS)] == []
