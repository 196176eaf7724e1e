"""Whether guesses pay: what they lost in time and what they gained, against passes without them."""

from __future__ import annotations

from collections import deque
from statistics import median

FIRST_PLAIN_STEPS = 5
"""Steps without guesses that tell what one costs, before the first with guesses."""
STEPS_BETWEEN_PLAIN = 32
"""Steps with guesses in a row, before one without tells what it costs now."""
OVERDRAFT_STEPS = 1.0
"""Plain steps' worth of time that guesses may lose before they rest."""
LOSS_SHARE = 0.01
"""Share of the time that guesses which never pay may cost: each plain step pays off so much of what was lost."""
CREDIT_STEPS = 1.0
"""Plain steps' worth of gain that is remembered; more would let guesses go on for long after they ceased to pay."""
TRIAL_STEPS = 0.5
"""Plain steps' worth of credit that a guess needs which is not likely to pay."""
SURE_GAIN_FACTOR = 1.5
"""While guesses rest, a step with some must be likely to be so many times as fast."""
RECENT_STEPS = 9
"""Plain steps whose median is what one costs: a disturbance of one of them must not count."""


class Balance:
    """Of guesses beside one number of sequences."""

    def __init__(self, sequences: int) -> None:
        self._sequences = sequences
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)
        """Seconds of the last plain steps."""
        self._usual = 0.0
        self._guessed = 0
        """Steps with guesses since the last plain one."""
        self._lost = 0.0
        """Seconds; negative for gains."""
        self._resting = False

    @property
    def usual(self) -> float:
        """Seconds of a plain step, above zero once there was one."""
        return self._usual

    @property
    def guesses(self) -> bool:
        """Whether the next step may be one with guesses."""
        return len(self._recent) >= FIRST_PLAIN_STEPS and self._guessed < STEPS_BETWEEN_PLAIN

    @property
    def rests(self) -> bool:
        """Whether only guesses that are all but certain are to be made."""
        return self._resting

    @property
    def least_gain(self) -> float:
        """How many times as fast as a plain step one with guesses must be likely to be."""
        return SURE_GAIN_FACTOR if self._resting else 1.0

    @property
    def affords_trial(self) -> bool:
        """Whether a guess may be made that is not likely to pay, to see whether that has changed."""
        return self._lost < -TRIAL_STEPS * self._usual

    def plain(self, seconds: float, searching: float = 0.0) -> None:
        """A step without guesses took so long, and before it the search for some."""
        self._recent.append(seconds)
        self._usual = max(median(self._recent), 1e-9)
        self._guessed = 0
        self._book(searching - LOSS_SHARE * self._usual)

    def guessed(self, seconds: float, kept: int) -> float:
        """A step with guesses took so long, making them included; `kept` of them came true. Returns the seconds that
        were lost, negative for gained ones."""
        self._guessed += 1
        lost = seconds - self._usual * (1 + kept / self._sequences)
        self._book(lost)
        return lost

    def _book(self, lost: float) -> None:
        self._lost = max(self._lost + lost, -CREDIT_STEPS * self._usual)
        self._resting = self._lost > (0.0 if self._resting else OVERDRAFT_STEPS * self._usual)
