"""Conversations on disk: whatever happens to the file, to the process or beside it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.conversations.attachments import Attachment, MessageDraft
from core.conversations.keeper import ConversationKeeper
from core.conversations.store import ConversationStore, ConversationsUnreadable
from core.conversations.tree import AnswerCall, AnswerWriter, ConversationTree, Outcome, make_id
from core.events import Finished, FinishReason, Timings, Usage
from core.settings.conversations import ConversationSettings
from tests.core.conversations.test_tree import MOVES, grow, said

GUIDE = AnswerWriter("guide", "F16", "llamacpp", '{"temperature":0}')


@pytest.fixture(params=[500, 1])
def spans(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search looks at so many conversations first."""
    monkeypatch.setattr("core.conversations.listing.FIRST_SPAN_CONVERSATIONS", request.param)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    made = ConversationStore(tmp_path)
    yield made
    made.close()


def converse(store: ConversationStore, *questions: str) -> ConversationKeeper:
    """A conversation of answered questions, each answer being its question in capitals."""
    keeper = store.begin(ConversationTree(make_id()))
    for number, question in enumerate(questions, 1):
        add_turn(keeper, question, float(number))
    return keeper


def add_turn(keeper: ConversationKeeper, question: str, now: float = 1.0) -> None:
    answer = keeper.tree.ask(question, now, GUIDE).answers[0]
    answer.pieces.append(question.upper())
    answer.outcome = Outcome.DONE
    keeper.keep()


def found(store: ConversationStore, query: str) -> list[str]:
    return [each.line.title for each in store.search(query)]


def integrity(store: ConversationStore) -> None:
    """The index of words tells of no text that is gone."""
    assert store.flush(60.0)
    with sqlite3.connect(store.path) as database:
        database.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        indexed = {row[0] for row in database.execute("SELECT DISTINCT rowid FROM words ('a* OR q*')")}
        there = "SELECT place FROM turns UNION SELECT place FROM answers UNION SELECT number << 20 FROM conversations"
        there += " UNION SELECT place FROM attached"
        assert indexed <= {row[0] for row in database.execute(there)}


def test_a_question_is_on_disk_before_its_answer_begins_and_pieces_come_behind_it(store: ConversationStore) -> None:
    keeper = store.begin(ConversationTree(make_id()))
    keeper.keep()
    assert store.list_lines() == []
    answer = keeper.tree.ask("What is a cache?", 5.0, GUIDE).answers[0]
    keeper.keep()
    assert said_of(store, keeper) == [("What is a cache?", "")]
    for piece in ("It ", "keeps ", "things."):
        answer.pieces.append(piece)
        answer.thoughts.append(f"{piece}?")
        keeper.keep()
    assert said_of(store, keeper) == [("What is a cache?", "It keeps things.")]
    kept = store.read(keeper.tree.id)
    assert kept is not None
    assert kept.path()[0].answer.outcome is Outcome.CUT_OFF
    assert kept.path()[0].answer.thought == "It ?keeps ?things.?"


def said_of(store: ConversationStore, keeper: ConversationKeeper) -> list[tuple[str, str]]:
    kept = store.read(keeper.tree.id)
    assert kept is not None
    return said(kept)


def test_an_answer_comes_back_with_all_that_is_known_of_it(store: ConversationStore) -> None:
    keeper = store.begin(ConversationTree(make_id(), settings='{"system":"Be brief."}'))
    answer = keeper.tree.ask("When?", 5.0, GUIDE).answers[0]
    keeper.keep()
    answer.thoughts += ["let ", "me see"]
    answer.calls.append(AnswerCall("c1", "now", '{"zone": "CET"}', whole=True))
    keeper.keep()
    answer.pieces += ["At ", "five."]
    answer.end = Finished(0, FinishReason.LENGTH, Usage(40, 30, 11, 4), Timings(0.1, 0.2, 0.3))
    answer.outcome = Outcome.DONE
    keeper.keep()
    again = store.open(keeper.tree.id)
    assert again is not None
    answer.pieces, answer.thoughts = [answer.text], [answer.thought]
    assert again.tree == keeper.tree
    again.keep()
    revision = store.read_revision()
    again.keep()
    assert store.read_revision() == revision


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MOVES, MOVES)
def test_what_is_read_is_what_was_kept_whatever_was_done(
    store: ConversationStore, first: list[tuple[str, int]], then: list[tuple[str, int]]
) -> None:
    keeper = store.begin(ConversationTree(make_id()))
    grow(keeper.tree, first)
    keeper.keep()
    if not keeper.tree.turns:
        return
    again = store.open(keeper.tree.id)
    assert again is not None
    assert again.tree == keeper.tree
    grow(again.tree, then, "then ")
    again.keep()
    assert store.read(keeper.tree.id) == again.tree
    integrity(store)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MOVES, MOVES, MOVES)
def test_two_programs_with_one_conversation_lose_no_word_of_each_other(
    store: ConversationStore, first: list[tuple[str, int]], here: list[tuple[str, int]], there: list[tuple[str, int]]
) -> None:
    mine = store.begin(ConversationTree(make_id()))
    add_turn(mine, "first")
    grow(mine.tree, first)
    mine.keep()
    other = ConversationStore(store.path.parent)
    assert store.flush(60.0)
    theirs = other.open(mine.tree.id)
    assert theirs is not None
    written = grow(mine.tree, here, "mine ") + grow(theirs.tree, there, "theirs ")
    mine.keep()
    theirs.keep()
    assert store.flush(60.0)
    assert other.flush(60.0)
    mine.take_over(store.read(mine.tree.id))
    theirs.take_over(other.read(mine.tree.id))
    other.close()
    for tree in (mine.tree, theirs.tree):
        everything = {(turn.question, each.text) for turn in tree.turns.values() for each in turn.answers}
        assert everything >= set(written)


def test_a_title_that_another_program_gave_is_not_taken_back(store: ConversationStore) -> None:
    mine = converse(store, "one")
    store.rename(mine.tree.id, "My title")
    add_turn(mine, "two", 2.0)
    assert [line.title for line in store.list_lines()] == ["My title"]
    assert mine.take_over(store.read(mine.tree.id))
    assert (mine.tree.title, mine.tree.renamed) == ("My title", True)
    assert found(store, "title") == ["My title"]
    assert found(store, "one") == ["My title"]


def test_the_list_has_what_was_changed_last_first_and_tells_that_it_changed(store: ConversationStore) -> None:
    first, _ = converse(store, "one"), converse(store, "two", "three")
    revision = store.read_revision()
    assert [(line.title, line.turns, line.model) for line in store.list_lines()] == [
        ("two", 2, "guide"),
        ("one", 1, "guide"),
    ]
    assert store.read_revision() == revision
    store.has_moved()
    assert not store.has_moved()
    add_turn(first, "four", 9.0)
    assert [line.title for line in store.list_lines()] == ["one", "two"]
    assert store.has_moved()
    assert store.read_revision() > revision


@pytest.mark.usefixtures("spans")
def test_words_are_found_wherever_in_a_conversation_they_stand(store: ConversationStore) -> None:
    converse(store, "How do I sort in Python?", "And backwards?")
    converse(store, "東京タワーの高さは")
    converse(store, "Naïve Bayes, explained")
    assert found(store, "python") == ["How do I sort in Python?"]
    assert found(store, "pyth backw") == []
    assert found(store, "python backw") == ["How do I sort in Python?"]
    assert found(store, "pyth ") == []
    assert found(store, "SORT in python") == ["How do I sort in Python?"]
    assert found(store, "タワー") == ["東京タワーの高さは"]
    assert found(store, "naive") == ["Naïve Bayes, explained"]
    assert found(store, "n") == []
    for number in range(4):
        converse(store, f"many {number}")
    assert found(store, "many") == ["many 3", "many 2", "many 1", "many 0"]
    assert [each.line.title for each in store.search("many", 2)] == ["many 3", "many 2"]
    (hit,) = store.search("bayes")
    assert [hit.snippet.text[start:end].lower() for start, end in hit.snippet.marks] == ["bayes"]


ODD = (
    *('"', '""', "*", "NEAR(a b, 3)", "a AND", "OR", "NOT x", "(a", "a)", "^a", "title:a", "a-b", "{a}", "a\0b", "'"),
    *("\ud800", "-", "\\", "_", "%"),
)


@pytest.mark.parametrize("query", ODD)
def test_whatever_is_searched_for_is_words(store: ConversationStore, query: str) -> None:
    converse(store, "plain words")
    assert found(store, query) == []
    converse(store, f"here {query} it is".replace("\ud800", "?"))
    assert len(store.search(query)) == any(sign.isalnum() for sign in query)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30), st.text(max_size=60))
def test_no_text_and_no_query_is_too_odd(store: ConversationStore, query: str, text: str) -> None:
    keeper = converse(store, f"{text} {query}", query)
    assert found(store, query) is not None
    assert store.read(keeper.tree.id) is not None


def test_what_is_deleted_can_be_had_back_until_it_is_forgotten(store: ConversationStore) -> None:
    keeper = converse(store, "secret words")
    converse(store, "others")
    store.delete([keeper.tree.id])
    assert [line.title for line in store.list_lines()] == ["others"]
    assert found(store, "secret") == []
    assert store.open(keeper.tree.id) is None
    store.bring_back([keeper.tree.id])
    assert found(store, "secret") == ["secret words"]
    store.delete([keeper.tree.id])
    store.purge()
    store.bring_back([keeper.tree.id])
    assert found(store, "secret") == ["secret words"]
    store.delete([keeper.tree.id])
    store.purge(deleted_seconds=-1.0)
    store.bring_back([keeper.tree.id])
    assert found(store, "secret") == []
    integrity(store)


def test_who_goes_on_with_what_another_program_has_forgotten_writes_it_anew(store: ConversationStore) -> None:
    keeper = converse(store, "one")
    store.delete([keeper.tree.id])
    store.purge(deleted_seconds=-1.0)
    assert not keeper.take_over(store.read(keeper.tree.id))
    add_turn(keeper, "two", 2.0)
    assert said_of(store, keeper) == [("one", "ONE"), ("two", "TWO")]
    keeper.stop()
    store.delete([keeper.tree.id])
    add_turn(keeper, "three", 3.0)
    assert store.list_lines() == []


def test_what_is_forgotten_cannot_be_had_back_and_costs_no_other_its_way_back(store: ConversationStore) -> None:
    secret, other = converse(store, "secret words"), converse(store, "others")
    store.delete([other.tree.id])
    store.forget([secret.tree.id])
    assert store.is_deleted(secret.tree.id)
    store.bring_back([other.tree.id])
    assert [line.title for line in store.list_lines()] == ["others"]
    assert found(store, "secret") == []
    integrity(store)
    add_turn(secret, "again", 9.0)
    secret.take_over(None)
    secret.keep()
    assert said_of(store, secret) == [("secret words", "SECRET WORDS"), ("again", "AGAIN")]


def test_what_comes_of_an_answer_that_another_program_has_forgotten_leaves_no_word_in_the_file(
    store: ConversationStore,
) -> None:
    keeper = store.begin(ConversationTree(make_id()))
    answer = keeper.tree.ask("What?", 5.0, GUIDE).answers[0]
    keeper.keep()
    store.forget([keeper.tree.id])
    answer.pieces.append("secret")
    keeper.keep()
    assert store.flush(60.0)
    with sqlite3.connect(store.path) as database:
        assert database.execute("SELECT body FROM pieces").fetchall() == []
    keeper.take_over(None, deleted=True)
    answer.pieces.append(" words")
    keeper.keep()
    assert said_of(store, keeper) == [("What?", "secret words")]


def test_what_another_program_deleted_stays_so_until_something_is_said_in_it_again(store: ConversationStore) -> None:
    mine = converse(store, "one")
    store.delete([mine.tree.id])
    assert store.is_deleted(mine.tree.id)
    assert not mine.take_over(store.read(mine.tree.id), deleted=True)
    mine.keep()
    assert store.list_lines() == []
    add_turn(mine, "two", 2.0)
    assert said_of(store, mine) == [("one", "ONE"), ("two", "TWO")]
    assert not store.is_deleted(mine.tree.id)


def test_an_answer_whose_program_was_killed_is_found_after_the_next_start(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = store.begin(ConversationTree(make_id()))
    answer = keeper.tree.ask("What?", 5.0, GUIDE).answers[0]
    keeper.keep()
    answer.pieces.append("wonderful")
    keeper.keep()
    store.purge()
    assert found(store, "wonderful") == []
    monkeypatch.setattr("core.conversations.store.FOLD_SECONDS", -1.0)
    store.purge()
    assert found(store, "wonderful") == ["What?"]
    answer.pieces.append(" indeed")
    answer.outcome = Outcome.DONE
    keeper.keep()
    assert said_of(store, keeper) == [("What?", "wonderful indeed")]
    integrity(store)


KILLED = """
import sys, time
from pathlib import Path
from core.conversations.store import ConversationStore
from core.conversations.tree import ConversationTree, make_id
store = ConversationStore(Path(sys.argv[1]))
keeper = store.begin(ConversationTree(make_id()))
answer = keeper.tree.ask("What is this?", time.time()).answers[0]
keeper.keep()
number = 0
while True:
    number += 1
    answer.pieces.append(f"{number} ")
    keeper.keep()
    assert store.flush(60.0)
    print(number, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_a_kill_costs_nothing_that_was_written(store: ConversationStore) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store.path.parent)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(5)][-1]
        child.kill()
    (line,) = store.list_lines()
    kept = store.open(line.id)
    assert kept is not None
    (step,) = kept.tree.path()
    assert step.answer.outcome is Outcome.CUT_OFF
    numbers = [int(each) for each in step.answer.text.split()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers[-1] >= told


DRAFTING = """
import sys
from pathlib import Path
from core.conversations.attachments import Attachment, MessageDraft
from core.conversations.store import ConversationStore
store = ConversationStore(Path(sys.argv[1]))
store.keep_draft(MessageDraft("half a ", (Attachment("x = 1", "a.py"),)))
assert store.flush(30)
print("kept", flush=True)
sys.stdin.readline()
"""


def test_a_message_that_was_not_sent_is_for_the_next_program_not_for_one_beside(store: ConversationStore) -> None:
    draft = MessageDraft("half a ", (Attachment("x = 1", "a.py"),))
    with subprocess.Popen(
        [sys.executable, "-c", DRAFTING, str(store.path.parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "kept\n"
        assert store.take_draft() == MessageDraft()
        child.kill()
    assert [store.take_draft(), store.take_draft()] == [draft, draft]
    store.keep_draft(MessageDraft(" "))
    assert store.take_draft() == MessageDraft()


BESIDE = """
import sys, time
from pathlib import Path
from core.conversations.store import ConversationStore
from core.conversations.tree import ConversationTree, Outcome, make_id
store = ConversationStore(Path(sys.argv[1]))
sys.stdin.readline()
for number in range(20):
    keeper = store.open(sys.argv[2])
    answer = keeper.tree.ask(f"{sys.argv[3]} {number}", time.time()).answers[0]
    answer.pieces.append("yes")
    answer.outcome = Outcome.DONE
    keeper.keep()
    own = store.begin(ConversationTree(make_id()))
    own.tree.ask(f"own {sys.argv[3]} {number}", time.time())
    own.keep()
store.close()
"""


def test_two_processes_that_write_at_once_lose_nothing(store: ConversationStore) -> None:
    shared = converse(store, "shared")
    assert store.flush(60.0)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", BESIDE, str(store.path.parent), shared.tree.id, name],
            stdin=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        child.communicate()
        assert child.returncode == 0
    lines = store.list_lines()
    assert sum(line.title.startswith("own ") for line in lines) == 40
    kept = store.read(shared.tree.id)
    assert kept is not None
    asked = {turn.question for turn in kept.turns.values()}
    assert asked == {"shared", *(f"{name} {number}" for name in ("one", "two") for number in range(20))}
    assert shared.take_over(kept)


def test_a_damaged_file_is_told_and_the_conversation_that_is_open_is_kept_in_a_new_one(
    store: ConversationStore,
) -> None:
    keeper = converse(store, "one")
    assert store.flush(60.0)
    store.close()
    store.path.write_bytes(b"no database at all" * 1000)
    again = ConversationStore(store.path.parent)
    with pytest.raises(ConversationsUnreadable):
        again.list_lines()
    assert again.flush(60.0)
    assert again.list_lines() == []
    assert "damaged" in (again.damaged or "")
    mine = again.begin(keeper.tree)
    mine.keep()
    assert said_of(again, mine) == [("one", "ONE")]
    assert again.trouble is None
    again.close()


FULL = """
import resource, signal, sys
from pathlib import Path
import core.kept_database
from core.conversations.store import ConversationStore
from core.conversations.tree import ConversationTree, make_id
core.kept_database.RETRY_SECONDS = 0.05
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = ConversationStore(Path(sys.argv[1]))
keeper = store.begin(ConversationTree(make_id()))
keeper.tree.ask("before", 1.0)
keeper.keep()
assert store.flush(60.0) and store.trouble is None
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
keeper.tree.ask("long " * 100_000, 2.0)
keeper.keep()
assert not store.flush()
print(store.trouble, len(store.list_lines()), flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
while not store.flush():
    pass
print(store.trouble, len(store.read(keeper.tree.id).turns))
store.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit there")
def test_a_disk_that_takes_no_more_is_told_and_what_was_said_is_written_when_it_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    meanwhile, after = done.stdout.splitlines()
    assert meanwhile.startswith(f"{tmp_path / 'conversations.sqlite3'} cannot be written (")
    assert meanwhile.endswith("The chat goes on, and is kept as soon as that is possible. 1")
    assert after == "None 2"


def test_a_file_in_a_folder_of_the_users_own_is_for_the_user_alone(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "state", ConversationSettings(folder=str(tmp_path / "mine")))
    converse(store, "one")
    assert store.flush(60.0)
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "mine").iterdir()} == {0}
    store.close()
    assert store.path == tmp_path / "mine" / "conversations.sqlite3"


def test_what_was_asked_lately_is_told_the_newest_last_but_not_of_deleted_conversations(
    store: ConversationStore,
) -> None:
    older, gone = converse(store, "one", "two"), converse(store, "gone")
    newer = converse(store, "three")
    add_turn(newer, "four", 9.0)
    store.delete([gone.tree.id])
    assert store.list_questions(3) == ["two", "three", "four"]
    add_turn(older, "five", 10.0)
    assert store.list_questions(10) == ["three", "four", "one", "two", "five"]


def test_texts_that_went_with_a_question_are_kept(store: ConversationStore) -> None:
    keeper = store.begin(ConversationTree(make_id()))
    attached = (Attachment("x = 1\n", "a.py", 4), Attachment("pasted"))
    keeper.tree.ask("why?", 1.0, attachments=attached)
    keeper.keep()
    kept = store.read(keeper.tree.id)
    assert kept is not None
    assert kept.path()[0].turn.attachments == attached


def test_words_of_texts_that_went_with_a_question_are_found_and_forgotten_with_it(store: ConversationStore) -> None:
    keeper = store.begin(ConversationTree(make_id()))
    attached = (
        Attachment("def plough(field):\n    return field\n", "farm.py", 9),
        Attachment("nul \0 and quokka\n" * 9000 + "wombat"),
    )
    keeper.tree.ask("why?", 1.0, attachments=attached)
    keeper.keep()
    add_turn(keeper, "another", 2.0)
    converse(store, "of ploughs")
    [by_text] = store.search("plough field")
    assert by_text.snippet.text == "farm.py: def plough(field):     return field"
    assert [by_text.snippet.text[start:end] for start, end in by_text.snippet.marks] == ["plough", "field", "field"]
    assert found(store, "quokka") == found(store, "farm.py why") == ["why?"]
    [far] = store.search("wombat")
    assert far.snippet.text == "far down in a text that went with a question"
    store.forget([keeper.tree.id])
    assert found(store, "quokka") == []
    integrity(store)
    with sqlite3.connect(store.path) as database:
        assert database.execute("SELECT count(*) FROM words ('quokka')").fetchone() == (0,)
