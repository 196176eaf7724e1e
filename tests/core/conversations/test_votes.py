"""Votes are kept, and only those between the contestants count."""

from __future__ import annotations

from pathlib import Path

from core.conversations.votes import AnswerVote, VoteBox, VoteCount, count_votes


def test_votes_are_kept_and_counted_between_those_who_stand_there(tmp_path: Path) -> None:
    box = VoteBox(tmp_path / "state" / "votes.jsonl")
    votes = [
        AnswerVote(("small", "large"), "large", True, 1.0),
        AnswerVote(("large", "small", "other"), "large"),
        AnswerVote(("small", "large"), ""),
        AnswerVote(("small", "other"), "small"),
        AnswerVote(("small", "large", "other"), "other"),
    ]
    assert [box.add(vote) for vote in votes] == [True] * 5
    kept = VoteBox(tmp_path / "state" / "votes.jsonl").load()
    assert kept == tuple(votes)
    assert count_votes(kept, ("small", "large")) == (VoteCount("small", 0, 2, 1), VoteCount("large", 2, 0, 1))
