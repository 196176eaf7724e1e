"""Forms other than schemas, drafts, what models think, and what hostile forms come to."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import jsonschema
import psutil
import pytest

from core.chat.parsers.family import ThinkingPhase
from core.chat.parsers.registry import choose_family
from core.contract.models import Tokenizer
from core.decoding.masks import trials as trying
from core.decoding.masks.compiler import MOST_KEPT_FORMS, MaskCompiler
from core.decoding.masks.thinking import Thinking, find_thinking
from core.decoding.masks.token_mask import TokenMask
from core.decoding.masks.trials import FormTrials, UnfitForm
from core.engines.echo import TURN_END, EchoTokenizer
from core.errors import Overloaded, RequestError
from core.requests import (
    AnswerForm,
    Constraint,
    GbnfGrammar,
    JsonObject,
    JsonSchema,
    LarkGrammar,
    RegexPattern,
    TextChoice,
)
from tests.core.decoding.masks.conftest import Compile
from tests.core.decoding.masks.test_keywords import allows
from tests.fakes.schemas import SchemaMaker

ODD = ('a"b', "x\\y", "né\n", "a\u2028b", "\x7f", "🙂", "</s>", "/re/", "\x01", " blank", "[", "<|im_end|>")


def writes(mask: TokenMask, text: str) -> bool:
    """Whether the mask, which is a fresh one, allows the text and then its end."""
    for byte in text.encode():
        if mask.complete or not allows(mask.follow(())[1][0], byte):
            return False
        mask.take(byte)
    return mask.complete or allows(mask.follow(())[1][0], TURN_END)


def test_masks_that_take_too_long_end_their_answer_and_have_their_form_refused_for_a_while(
    trials: FormTrials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few may; on the whole they may not."""
    spent = [0.0, 0.0]
    constraint = Constraint(RegexPattern("[ab]{900}"), "response_format")
    compiler = MaskCompiler(EchoTokenizer(), trials)
    monkeypatch.setattr(TokenMask, "_next", lambda mask: spent.__setitem__(0, spent[0] + spent[1]) or b"\xff" * 33)
    mask = compiler.compile(constraint)
    monkeypatch.setattr(mask, "_clock", lambda: spent[0])
    for seconds, tokens in ((0.004, 200), (0.02, 5), (0.001, 100), (0.02, 7)):
        spent[1] = seconds
        for _ in range(tokens):
            mask.follow(())
            mask.take(ord("a"))
    with pytest.raises(RequestError, match="takes too long to follow") as error:
        mask.follow(())
    assert error.value.field == "response_format"
    assert compiler.find(constraint) is None
    with pytest.raises(RequestError, match="others would wait for it"):
        compiler.compile(constraint)


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (JsonObject(), ["{}", '{"a": [1, {"b": null}]}'], ["[]", '"a"', "{} "]),
        (RegexPattern("[a-c]+/x?"), ["abc/", "a/x"], ["", "d/", "a/xx"]),
        (RegexPattern("^(?i)yes$"), ["yes", "YeS"], ["no"]),
        (TextChoice(ODD), [*ODD], ["a", "x", "a\u2028"]),
        (LarkGrammar('start: "a" B*\nB: /[0-9]/'), ["a", "a12"], ["b", "1"]),
        (GbnfGrammar('root ::= "a" [0-9]+ ("x" | ws)\nws ::= [ \\t]*'), ["a1x", "a12 "], ["a", "ax"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_form_lets_through_its_texts_alone(
    form: AnswerForm, good: list[str], bad: list[str], compiled: Compile
) -> None:
    mask = compiled(form)
    assert [text for text in good if not writes(mask.copy(), text)] == []
    assert [text for text in bad if writes(mask.copy(), text)] == []


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (RegexPattern("a(?=b)"), "The regular expression cannot be enforced: .*look-ahead"),
        (RegexPattern("["), "The regular expression cannot be enforced: .*unclosed character class"),
        (RegexPattern("(a)\\1"), "backreferences are not supported"),
        (LarkGrammar("start: nosuch"), "The grammar cannot be enforced: .*nosuch"),
        (GbnfGrammar("root ::= nosuch"), "The grammar cannot be read: Rule 'nosuch' not found"),
        (GbnfGrammar('start: "a"'), "has no rule of the form"),
        (JsonSchema('{"type": "strin'), "is no JSON"),
        (JsonSchema('{"const": "\\ud800"}'), "cannot be enforced"),
        (TextChoice(("\ud800",)), "half a surrogate pair"),
    ],
)
def test_a_form_that_cannot_be_read_is_told_in_a_sentence(form: AnswerForm, words: str, compiled: Compile) -> None:
    with pytest.raises(RequestError, match=words) as error:
        compiled(form)
    assert str(error.value).isprintable()
    assert error.value.field == "response_format"


HOSTILE: dict[str, AnswerForm] = {
    "references in a row": JsonSchema(
        json.dumps(
            {
                "$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(20_000)} | {"d20000": {}},
                "$ref": "#/$defs/d0",
            }
        )
    ),
    "references that double": JsonSchema(
        json.dumps(
            {
                "$defs": {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
                | {"d40": {"type": "string", "pattern": "a"}},
                "$ref": "#/$defs/d0",
            }
        )
    ),
    "a large multiple": JsonSchema('{"type": "integer", "multipleOf": 99999999}'),
    "unions of unions": JsonSchema(
        json.dumps({"allOf": [{"anyOf": [{"required": [f"{i}.{j}"]} for j in range(9)]} for i in range(9)]})
    ),
    "many members": JsonSchema(json.dumps({"properties": {f"p{i}": {"type": "null"} for i in range(20_000)}})),
    "a long pattern": JsonSchema(json.dumps({"type": "string", "pattern": "(abc|d.e)?" * 90_000})),
    "rules in a row": LarkGrammar(
        "start: r0\n" + "".join(f"r{i}: r{i + 1}\n" for i in range(30_000)) + 'r30000: "a"\n'
    ),
    "a megabyte of words": LarkGrammar("start: " + " | ".join(f'"w{i}"' for i in range(90_000))),
    "three thousand members that may be": JsonSchema(
        json.dumps({"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(3_000)}})
    ),
    "too much": LarkGrammar("start: " + '"a"' * 700_000),
    "brackets": GbnfGrammar("root ::= " + "(" * 3_000 + '"a"' + ")" * 3_000),
}
BENIGN: dict[str, AnswerForm] = {
    "ten thousand values": JsonSchema(json.dumps({"enum": [f"v{i}" for i in range(10_000)]})),
    "ten thousand texts": TextChoice(tuple(f"v{i}" for i in range(10_000))),
    "a billion items": JsonSchema('{"type": "array", "items": {"type": "null"}, "minItems": 1000000000}'),
    "a billion characters": JsonSchema('{"type": "string", "minLength": 1000000000}'),
    "itself": JsonSchema('{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": []}'),
    "repetitions of repetitions": RegexPattern("((a{1000}){1000}){1000}"),
    "stars of stars": RegexPattern("((((a*)*)*)*)*b"),
    "a megabyte of words about it": JsonSchema(json.dumps({"type": "object", "description": "x" * 1_000_000})),
}


@pytest.mark.parametrize("form", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_form_is_refused_and_the_next_is_served(form: AnswerForm) -> None:
    trials = FormTrials(seconds=1.5)
    try:
        with pytest.raises(UnfitForm) as error:
            trials.write_grammar(form)
        assert len(str(error.value)) < 500
        assert trials.write_grammar(JsonObject())
    finally:
        trials.close()


@pytest.mark.parametrize("form", BENIGN.values(), ids=BENIGN)
def test_what_only_looks_hostile_is_served(form: AnswerForm, compiled: Compile) -> None:
    assert compiled(form).follow(())[1]


def test_a_form_that_ended_its_process_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = FormTrials(seconds=0.3)
    form = HOSTILE["references that double"]
    before = tried_by()
    try:
        with pytest.raises(UnfitForm, match="Compiling it takes longer than 0.3 s"):
            trials.write_grammar(form)
        assert tried_by() == before
        assert trials._remembered(form) is not None
        monkeypatch.setattr(trying, "ENDED_SECONDS", -1.0)
        other = JsonSchema('{"type": "integer", "multipleOf": 99999998}')
        with pytest.raises(UnfitForm):
            trials.write_grammar(other)
        assert trials._remembered(other) is None
    finally:
        trials.close()


class _YieldingLock:
    """A lock after which somebody else comes at once."""

    def __init__(self, then: Callable[[], object]) -> None:
        self._lock = threading.Lock()
        self._then: Callable[[], object] | None = then

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        then, self._then = self._then, None
        if then is not None:
            then()


def test_a_form_that_is_refused_stays_refused_whoever_tries_it_meanwhile() -> None:
    trials = FormTrials()
    form = RegexPattern("[ab]{9}")
    trials.write_grammar(form)

    def try_it() -> None:
        with suppress(UnfitForm):
            trials.write_grammar(form)

    trials._lock = _YieldingLock(try_it)  # type: ignore[assignment]
    trials.refuse(form, "It takes too long.")
    with pytest.raises(UnfitForm, match="takes too long"):
        trials.write_grammar(form)
    trials.close()


def test_a_form_is_not_blamed_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = FormTrials()
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", "/nowhere/python")
        with pytest.raises(
            Overloaded, match="trial of the answer's form has no process to run in: .*; ask again later"
        ):
            trials.write_grammar(JsonObject())
    assert trials.write_grammar(JsonObject())
    trials.close()


def tried_by() -> set[int]:
    """Process ids of the children that try forms."""
    return {each.pid for each in psutil.Process().children() if "core.decoding.masks.worker" in each.cmdline()}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch, trials: FormTrials) -> None:
    monkeypatch.setattr("core.decoding.masks.compiler.MOST_KEPT_FORMS", 3)
    compiler = MaskCompiler(EchoTokenizer(), trials)
    for number in range(8):
        compiler.compile(Constraint(TextChoice((f"t{number}",))))
    assert len(compiler._compiled) == 3
    assert compiler._size == sum(size for _, size in compiler._compiled.values())
    assert MOST_KEPT_FORMS > 3


def test_a_draft_is_cut_where_the_mask_says_no_and_nothing_of_it_is_taken(compiled: Compile) -> None:
    mask = compiled(TextChoice(("hello", "help")))
    kept, masks = mask.follow(list(b"helxo"))
    assert bytes(kept) == b"hel"
    assert len(masks) == 4
    assert allows(masks[3], ord("l"))
    assert allows(masks[3], ord("p"))
    assert not allows(masks[3], ord("x"))
    assert mask.follow(())[1][0] == masks[0]


def test_a_draft_is_cut_before_the_end_of_the_text(compiled: Compile) -> None:
    mask = compiled(TextChoice(("hi",)))
    assert mask.follow([*b"hi", TURN_END])[0] == [ord("h")]
    assert mask.follow([TURN_END])[0] == []
    for byte in b"hi":
        assert not mask.complete
        mask.take(byte)
    assert mask.complete


def test_a_token_that_is_not_allowed_ends_the_request_with_its_field(compiled: Compile) -> None:
    mask = compiled(TextChoice(("hi",)))
    with pytest.raises(RequestError, match="No token that `response_format` allows") as error:
        mask.take(ord("x"))
    assert error.value.field == "response_format"


def test_a_form_that_becomes_too_complex_amid_the_answer_says_so(compiled: Compile) -> None:
    mask = compiled(LarkGrammar('start: "ab" (' + " | ".join(f"/[a-z]{i}/" for i in range(2_500)) + ")"))
    mask.take(ord("a"))
    with pytest.raises(RequestError, match="became too complex to follow"):
        mask.take(ord("b"))


@pytest.mark.parametrize(
    ("template", "prompt", "found"),
    [
        (None, "<think>\n", None),
        ("{{ messages }}", "<think>\n", None),
        ("<think></think>", "assistant\n<think>\n", ThinkingPhase.INSIDE),
        ("<think></think>", "assistant\n", ThinkingPhase.BEFORE),
        ("<think></think>", "assistant\n<think>\n\n</think>\n\n", None),
        ("[THINK][/THINK]", "[/INST]", ThinkingPhase.BEFORE),
    ],
)
def test_a_prompt_tells_whether_its_model_thinks_first(
    template: str | None, prompt: str, found: ThinkingPhase | None
) -> None:
    thinking = find_thinking(choose_family(template), prompt)
    assert (thinking.phase if thinking else None) is found


@pytest.mark.parametrize(
    ("phase", "good", "bad"),
    [
        (ThinkingPhase.INSIDE, ["hm {} </thi</think>\n\n{}", "</think>{}"], ["{}", "hm</think>x{}"]),
        (
            ThinkingPhase.BEFORE,
            ["<think>hm {}</think>\n\n{}", "\n<think></think>{}", "{}"],
            ["hm</think>{}", "<think>{}"],
        ),
    ],
)
def test_a_mask_begins_behind_what_a_model_thinks(
    phase: ThinkingPhase, good: list[str], bad: list[str], trials: FormTrials
) -> None:
    compiler = MaskCompiler(EchoTokenizer(), trials)
    thinking = Thinking(phase, "<think>", "</think>")
    mask = compiler.compile(Constraint(JsonObject()), thinking)
    assert [text for text in good if not writes(mask.copy(), text)] == []
    assert [text for text in bad if writes(mask.copy(), text)] == []


class ThinkingTokenizer(EchoTokenizer):
    """Its turn marks are what begins and ends a thought."""

    def encode(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
        marks = {"[THINK]": [256], "[/THINK]": [258]}
        return marks.get(text) or super().encode(text, special=special, begin=begin)

    size = 259

    def piece(self, token: int) -> bytes:
        return b"" if token == 258 else super().piece(token)


def test_a_thought_may_end_with_a_control_token(trials: FormTrials) -> None:
    tokenizer: Tokenizer = ThinkingTokenizer()
    mask = MaskCompiler(tokenizer, trials).compile(
        Constraint(JsonObject()), Thinking(ThinkingPhase.INSIDE, "[THINK]", "[/THINK]")
    )
    for token in (*b"hm {", 258, *b"{}"):
        assert allows(mask.follow(())[1][0], token)
        mask.take(token)
    assert mask.complete


def test_whatever_is_wandered_through_the_masks_of_a_schema_is_of_it(compiled: Compile) -> None:
    whole = 0
    for seed in range(60):
        schema: dict[str, Any] = SchemaMaker(seed).make()
        text = wander(compiled(JsonSchema(json.dumps(schema))), Random(seed))
        if text is not None:
            jsonschema.Draft202012Validator(schema).validate(json.loads(text))
            whole += 1
    assert whole > 50


def wander(mask: TokenMask, random: Random) -> str | None:
    """A text drawn at random, with a leaning towards its end; None where that takes long."""
    drawn = bytearray()
    while not mask.complete:
        _, (bits,) = mask.follow(())
        allowed = [byte for byte in range(256) if allows(bits, byte)]
        if allows(bits, TURN_END) and (not allowed or random.random() < 0.5):
            break
        closing = [byte for byte in allowed if byte in b'"}]']
        byte = random.choice(closing if closing and random.random() < 0.4 else allowed)
        mask.take(byte)
        drawn.append(byte)
        if len(drawn) > 2_000:
            return None
    return drawn.decode()
