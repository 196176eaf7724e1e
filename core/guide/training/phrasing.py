"""Generic variation of questions, so that guide learns what is asked and not the letters of it.

Nothing here knows any fact: questions are rewritten by their opening words, by synonyms, by courtesies around them and
by the slips of a keyboard. Everything is drawn from one `random.Random`, so a seed gives the same text again.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from core.guide.training.corpus import Fact, list_heldout_forms, normalise_text

_WHAT_IS: Final = (
    "what is {}", "what's {}", "whats {}", "explain {}", "please explain {}", "tell me what {} is", "describe {}",
    "can you tell me what {} is", "do you know what {} is", "define {}", "what exactly is {}", "tell me about {}",
    "I would like to know what {} is", "can you explain {}", "what is meant by {}", "give me a definition of {}", "{}",
    "could you describe {}", "I don't understand {}", "what can you tell me about {}", "explain to me what {} is",
    "what do you know about {}", "I have a question about {}", "and what is {}", "so what is {}",
)  # fmt: skip
_WHAT_ARE: Final = (
    "what are {}", "what're {}", "explain {}", "please explain {}", "tell me what {} are", "describe {}", "define {}",
    "can you tell me what {} are", "do you know what {} are", "what exactly are {}", "tell me about {}", "{}",
    "can you explain {}", "what is meant by {}", "what can you tell me about {}", "show me {}", "list {}",
    "explain to me what {} are", "what do you know about {}",
)  # fmt: skip
_MEANING: Final = (
    "what does {} mean", "what is the meaning of {}", "meaning of {}", "explain {}", "what's {} mean", "define {}",
    "tell me what {} means", "can you tell me what {} means", "what is meant by {}", "what does {} stand for", "{}",
    "do you know what {} means", "what is {} supposed to mean", "what do you mean by {}",
)  # fmt: skip
_EFFECT: Final = (
    "what does {} do", "what is {} for", "explain {}", "tell me what {} does", "what is the use of {}", "{}",
    "what is the purpose of {}", "can you explain what {} does", "what's {} do", "why would I use {}",
    "when do I use {}", "what is {} good for", "what happens with {}", "describe {}", "what is {}",
)  # fmt: skip
_HOW: Final = (
    "how do I {}", "how can I {}", "how to {}", "how could I {}", "what is the way to {}", "tell me how to {}",
    "show me how to {}", "I want to {}", "I need to {}", "can you tell me how to {}", "what do I do to {}",
    "how should I {}", "is there a way to {}", "what is the best way to {}", "help me {}", "I would like to {}",
    "how does one {}", "how would I {}", "what must I do to {}", "can I {}", "please {}", "explain how to {}",
    "what is the command to {}", "which steps are needed to {}", "how do you {}", "{}", "can you help me {}",
)  # fmt: skip
_WHICH: Final = ("which {}", "what {}", "tell me which {}", "can you tell me which {}", "please tell me what {}")
_CAN: Final = ("can I {}", "is it possible to {}", "could I {}", "may I {}", "how can I {}", "am I able to {}")
_WHY: Final = ("why {}", "tell me why {}", "do you know why {}", "can you explain why {}", "for what reason {}")
_SHOULD: Final = (
    "should I {}",
    "is it good to {}",
    "do you recommend to {}",
    "is it a good idea to {}",
    "do I want to {}",
)
_MANY: Final = ("how many {}", "tell me how many {}", "what number of {}", "can you tell me how many {}")
_WHERE: Final = ("where {}", "tell me where {}", "do you know where {}", "can you tell me where {}")

_OPENINGS: Final[tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]] = (
    (re.compile(r"what does (.+) mean", re.IGNORECASE), _MEANING),
    (re.compile(r"what does (.+) do", re.IGNORECASE), _EFFECT),
    (re.compile(r"what is (.+)", re.IGNORECASE), _WHAT_IS),
    (re.compile(r"what are (.+)", re.IGNORECASE), _WHAT_ARE),
    (re.compile(r"how do I (.+)", re.IGNORECASE), _HOW),
    (re.compile(r"how many (.+)", re.IGNORECASE), _MANY),
    (re.compile(r"which (.+)", re.IGNORECASE), _WHICH),
    (re.compile(r"can I (.+)", re.IGNORECASE), _CAN),
    (re.compile(r"why (.+)", re.IGNORECASE), _WHY),
    (re.compile(r"should I (.+)", re.IGNORECASE), _SHOULD),
    (re.compile(r"where (.+)", re.IGNORECASE), _WHERE),
)
"""First match wins; a template gets what the group caught."""

_SYNONYMS: Final[tuple[tuple[str, ...], ...]] = (
    ("choose", "select", "pick", "take"), ("change", "set", "adjust", "modify"), ("start", "launch"), ("big", "large"),
    ("delete", "remove", "erase"), ("download", "fetch", "get"), ("memory", "RAM"), ("fast", "quick"), ("use", "try"),
    ("machine", "computer", "laptop", "PC", "system"), ("small", "little", "tiny"), ("speed", "performance"),
    ("answer", "reply", "response", "output"), ("request", "call"), ("requests", "calls"), ("stop", "end", "halt"),
    ("option", "flag", "setting", "switch", "parameter"), ("error", "problem", "failure"), ("need", "require"),
    ("explain", "describe", "clarify"), ("picture", "image", "photo"), ("recording", "audio", "audio file"),
    ("several", "multiple", "many", "more than one"), ("increase", "raise", "enlarge"), ("show", "display", "give"),
    ("reduce", "lower", "decrease", "shrink"), ("colours", "colors"), ("kept", "stored", "saved"), ("fix", "mend"),
    ("quantization", "quantisation"), ("quant", "quantization"), ("summarise", "summarize"), ("key-value", "key value"),
    ("workbench", "app", "program", "application"), ("endpoint", "path", "route", "URL"), ("model", "LLM"),
    ("best", "ideal", "right"), ("recommend", "suggest", "advise"), ("happens", "occurs"), ("server", "API server"),
    ("screen", "page", "view", "tab"), ("context length", "context size", "context window", "context"),
    ("another", "a different", "some other"), ("limit", "restrict"), ("talk", "chat", "speak"),
    ("see", "view", "check"), ("save", "keep", "store"), ("print", "show"), ("good", "useful"), ("text", "document"),
    ("purpose", "point", "goal"), ("documents", "files"), ("key", "button"), ("command", "instruction"),
    ("works", "runs"), ("folder", "directory"), ("graphics card", "GPU", "video card"), ("made", "created"),
    ("internet", "network", "connection"), ("wait", "hang on"),
)  # fmt: skip
_SYNONYM_OF: Final[Mapping[str, tuple[str, ...]]] = {
    word.lower(): tuple(other for other in group if other != word) for group in _SYNONYMS for word in group
}
_SYNONYM: Final = re.compile(
    r"\b(" + "|".join(sorted(map(re.escape, _SYNONYM_OF), key=len, reverse=True)) + r")\b", re.IGNORECASE
)

_BEFORE: Final = (
    "please ", "please tell me, ", "hi, ", "hello, ", "hey, ", "hi guide, ", "quick question: ", "question: ", "ok, ",
    "one more thing: ", "sorry, ", "excuse me, ", "well, ", "so ", "and ", "hm, ", "I wonder, ", "I am new here, ",
    "could you tell me: ", "help, ", "now ", "next question: ", "just curious, ", "good morning, ", "by the way, ",
)  # fmt: skip
_AFTER: Final = (
    " please", ", please", " in simple words", " in short", " briefly", " for me", " in one sentence", ", thanks",
    " exactly", " again", " here", " in benchtop", " for a beginner", ", can you explain", " in this program", " then",
    " really", " with benchtop", " when running locally",
)  # fmt: skip
_CONTRACTIONS: Final = (
    ("what is", "what's"), ("what is", "whats"), ("I am", "I'm"), ("do not", "don't"), ("does not", "doesn't"),
    ("is not", "isn't"), ("how do I", "how do i"), ("I would", "I'd"), ("cannot", "can't"), ("can not", "can't"),
    ("where is", "where's"), ("who is", "who's"), ("how is", "how's"), ("you are", "you're"), ("are you", "r u"),
)  # fmt: skip
_FILLERS: Final = frozenset({"the", "a", "an", "do", "does", "is", "are", "of", "to", "i", "my", "it", "in"})


class Phrasings:
    """Draws training questions: `draw(fact)` never returns a held-out phrasing or a question of another fact."""

    def __init__(self, facts: Sequence[Fact], rng: random.Random) -> None:
        self._rng = rng
        self._heldout = list_heldout_forms(facts)
        self._owner = {normalise_text(question): fact.id for fact in facts for question in fact.questions}
        self._keywords = find_keywords(facts)

    def draw(self, fact: Fact) -> str:
        """One question about the fact, as somebody might type it."""
        while True:
            text = _noise(_add_courtesies(self._base(fact), self._rng), self._rng)
            form = normalise_text(text)
            if form and form not in self._heldout and self._owner.get(form, fact.id) == fact.id:
                return text

    def _base(self, fact: Fact) -> str:
        rng, chance = self._rng, self._rng.random()
        words = self._keywords[fact.id]
        if chance < 0.08 and words:
            return " ".join(rng.sample(words, min(len(words), rng.randint(2, 4))))
        made = _from_templates(fact, rng) if chance < 0.33 else None
        if made is not None:
            return made
        question = rng.choice(fact.questions)
        if rng.random() < 0.35:
            question = _reopen(question, rng)
        return _synonyms(question, rng) if rng.random() < 0.5 else question


def find_keywords(facts: Sequence[Fact]) -> dict[str, list[str]]:
    """For each fact id the words of its answer that few other answers use: search terms somebody might type."""
    words = {fact.id: list(dict.fromkeys(re.findall(r"[\w/-]{3,}", fact.answer.lower()))) for fact in facts}
    uses = Counter(word for found in words.values() for word in found)
    return {name: [word for word in found if uses[word] <= 4] for name, found in words.items()}


def _from_templates(fact: Fact, rng: random.Random) -> str | None:
    """A question built from the fact's nouns or goals; None when it has none."""
    choices: list[tuple[str, tuple[str, ...]]] = [(term, _WHAT_IS + _EFFECT[:4]) for term in fact.terms]
    choices += [(_strip_article(term), _MEANING) for term in fact.terms]
    choices += [(term, _WHAT_ARE) for term in fact.plurals]
    choices += [(goal, _HOW) for goal in fact.goals]
    if not choices:
        return None
    words, templates = rng.choice(choices)
    return rng.choice(templates).format(words)


def _strip_article(term: str) -> str:
    return re.sub(r"^(a|an|the) ", "", term)


def _reopen(question: str, rng: random.Random) -> str:
    """The same question with another opening: `how do I x` becomes `what is the way to x`."""
    text = question.rstrip("?")
    for pattern, templates in _OPENINGS:
        if match := pattern.fullmatch(text):
            return rng.choice(templates).format(match[1])
    return question


def _synonyms(question: str, rng: random.Random) -> str:
    # Commands and paths are names: a synonym would make them another thing.
    if re.search(r"--|/|\btui\b|_", question):
        return question
    return _SYNONYM.sub(lambda m: rng.choice(_SYNONYM_OF[m[0].lower()]) if rng.random() < 0.4 else m[0], question)


def _add_courtesies(text: str, rng: random.Random) -> str:
    """Courtesies around the question, contractions within it."""
    for long, short in _CONTRACTIONS:
        if long in text and rng.random() < 0.15:
            text = text.replace(long, short, 1)
    end = "?" if text.endswith("?") else ""
    if rng.random() < 0.18:
        text = text.rstrip("?.!") + rng.choice(_AFTER) + end
    if rng.random() < 0.18:
        text = rng.choice(_BEFORE) + text
    return text


def _noise(text: str, rng: random.Random) -> str:
    """Dropped words, a typing slip, case and the final mark."""
    if rng.random() < 0.12:
        text = _drop_fillers(text, rng)
    if rng.random() < 0.12:
        text = _slip(text, rng)
    return _mark(_case(text, rng), rng)


def _drop_fillers(text: str, rng: random.Random) -> str:
    words = text.split()
    kept = [word for word in words if word.lower() not in _FILLERS or rng.random() < 0.5]
    return " ".join(kept) if len(kept) > 1 else text


def _slip(text: str, rng: random.Random) -> str:
    """One letter dropped, doubled or swapped with its neighbour, inside a word of five letters or more."""
    starts = [m.start() + 1 + rng.randrange(len(m[0]) - 2) for m in re.finditer(r"[A-Za-z]{5,}", text)]
    if not starts:
        return text
    at = rng.choice(starts)
    replaced = rng.choice(("", text[at] * 2, text[at + 1] + text[at]))
    return text[:at] + replaced + text[at + (2 if len(replaced) == 2 and replaced[0] != replaced[1] else 1) :]


def _case(text: str, rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.3:
        return text[0].upper() + text[1:]
    if chance < 0.55:
        return text.lower()
    return text.upper() if chance > 0.98 else text


def _mark(text: str, rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.3:
        return text.rstrip("?.!")
    if chance < 0.5 and not text.endswith(("?", "!", ".")):
        return text + rng.choice("?.?!")
    return text
