"""The conversation apart from its drawing."""

from __future__ import annotations

from core.conversations.tree import Outcome
from core.events import Finished, FinishReason, Timings, Usage
from core.requests import Conversation, Generation
from tests.tui.conftest import make_exchange
from tui.screens.chat.conversation import Chat, Exchange, summarize_exchange


def answered(chat: Chat, question: str, answer: str) -> Exchange:
    exchange = chat.ask(question)
    exchange.model = "guide"
    exchange.pieces.append(answer)
    exchange.outcome = Outcome.DONE
    exchange.version.end = Finished(
        0,
        FinishReason.STOP,
        Usage(prompt_tokens=40, cached_tokens=30, completion_tokens=11),
        Timings(queued=0.05, prefill=0.15, decode=0.5),
    )
    return exchange


def said(request: Generation) -> list[tuple[str, str]]:
    assert isinstance(request.prompt, Conversation)
    return [(message.role.value, message.text) for message in request.prompt.messages]


def test_a_request_carries_the_whole_conversation() -> None:
    chat = Chat()
    answered(chat, "one?", "One.")
    chat.ask("two?")
    assert said(chat.request("guide")) == [("user", "one?"), ("assistant", "One."), ("user", "two?")]


def test_answers_to_one_question_go_round_and_one_without_words_is_not_kept() -> None:
    chat = Chat()
    answered(chat, "one?", "First.")
    for words in ("Second.", "", "Third."):
        exchange = chat.answer_again()
        assert exchange is not None
        exchange.pieces.append(words)
        exchange.outcome = Outcome.DONE
    told = []
    for _ in range(4):
        assert chat.choose_answer(chat.exchanges[-1], -1) is not None
        told.append(chat.last_answer)
    assert told == ["Second.", "First.", "Third.", "Second."]
    assert len(chat.exchanges) == 1


def test_a_question_without_an_answer_is_not_sent_again() -> None:
    chat = Chat()
    failed = chat.ask("lost?")
    failed.outcome, failed.error = Outcome.FAILED, "It broke."
    chat.ask("two?")
    assert said(chat.request("guide")) == [("user", "two?")]


def test_answering_again_keeps_the_question_and_drops_the_answer() -> None:
    chat = Chat()
    answered(chat, "one?", "One.")
    again = chat.answer_again()
    assert again is not None
    assert (again.question, again.answer) == ("one?", "")
    assert len(chat.exchanges) == 1
    assert Chat().answer_again() is None


def test_the_context_in_use_is_that_of_the_last_counted_answer() -> None:
    chat = Chat()
    assert chat.tokens == 0
    answered(chat, "one?", "One.")
    chat.ask("two?")
    assert chat.tokens == 51


def test_the_summary_tells_speed_first_token_prompt_cache_and_reason() -> None:
    exchange = answered(Chat(), "one?", "One.")
    assert summarize_exchange(exchange) == "11 tok · 20.0 tok/s · first 200 ms · prompt 40 (30 cached) · finished"


def test_the_summary_of_a_failure_is_its_sentence() -> None:
    exchange = make_exchange("q")
    exchange.outcome, exchange.error = Outcome.FAILED, "The engine stopped."
    assert summarize_exchange(exchange) == "The engine stopped."


def test_an_answer_cut_by_the_context_says_so() -> None:
    exchange = answered(Chat(), "one?", "One.")
    assert exchange.end is not None
    exchange.version.end = Finished(0, FinishReason.CONTEXT, exchange.end.usage, exchange.end.timings)
    assert summarize_exchange(exchange).endswith("cut: the context is full")


def test_an_export_holds_questions_answers_and_statistics() -> None:
    chat = Chat()
    answered(chat, "one?", "**One**.")
    text = chat.to_markdown()
    seen = [line for line in text.splitlines() if line and not line.startswith("<!--")]
    assert seen[:-1] == ["# one?", "## You", "one?", "## guide", "**One**."]
    assert seen[-1].startswith("*11 tok")
    assert seen[-1].endswith("finished*")
