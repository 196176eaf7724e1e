"""What a trial run is at, in a few words for who waits."""

from __future__ import annotations

from core.trial.child import Copied, Deepened, Line, Sampled, Settled, VariantLoaded


class TrialSteps:
    """Follows the lines of one engine's trial runs."""

    def __init__(self, engine: str, rounds: int) -> None:
        """`rounds`: of each setting, over all numbers of threads."""
        self._engine = engine
        self._rounds = rounds
        self._done = 0
        self._setting = 1

    def describe(self, line: Line) -> str:
        """Words for the screen; empty for a line that begins nothing."""
        match line:
            case VariantLoaded(variant=variant):
                self._done, self._setting = 0, variant + 1
                return self._measuring("")
            case Sampled(decode=decode):
                self._done += 1
                return self._measuring(f": {decode:.0f} tok/s")
            case Deepened():
                return f"measuring {self._engine} behind a long prompt"
            case Copied():
                return f"measuring what guesses of {self._engine} cost"
            case Settled():
                return f"weighing what {self._engine} takes of memory"
            case _:
                return ""

    def _measuring(self, found: str) -> str:
        setting = f", setting {self._setting}" if self._setting > 1 else ""
        return f"measuring {self._engine}{setting}, round {min(self._done + 1, self._rounds)} of {self._rounds}{found}"
