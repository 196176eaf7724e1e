"""How likely a prompt's own tokens are, for requests that ask for it.

Each token is drawn under a mask that allows no other. Log-probabilities are told as if there were no mask, so every
engine that draws under masks can do it, many tokens in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.contract.models import ModelSpec, Tokenizer, TokenModel, Trims
from core.contract.step import SequenceId, StepLogprob, Work
from core.events import PromptScored, TokenLogprob
from core.models.fit.sizing import count_drawn_rows


class PromptScores:
    """Of one prompt, as far as it was computed. Belongs to its loop's thread."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._prompt = prompt
        self._found: list[StepLogprob] = []
        """Of the prompt's second token, its third, and so on."""
        self.told = False

    def count_left(self, computed: int) -> int:
        """Tokens that are to be computed before those behind each of them are known, `computed` being so by now."""
        return 0 if self.told else max(0, len(self._prompt) - 1 - computed)

    def build_work(self, sequence: SequenceId, computed: int, count: int) -> Work:
        """Compute the next `count` tokens, each of which draws the one behind it."""
        first, *others = self._prompt[computed : computed + count]
        drawn = self._prompt[computed + 1 : computed + count + 1]
        return Work(sequence, [first], sample=True, draft=others, masks=[allow_token(token) for token in drawn])

    def take(self, computed: int, found: Sequence[StepLogprob]) -> None:
        """What a step found of the tokens behind the first `computed`. Those that are computed anew count anew."""
        del self._found[computed:]
        self._found += found

    def tell(self, index: int, tokenizer: Tokenizer) -> PromptScored:
        """All of it. `index`: the choice that it is told of."""
        self.told = True
        first = tokenizer.piece(self._prompt[0]).decode("utf-8", "replace")
        scored = zip(self._prompt[1:], self._found, strict=True)
        return PromptScored(index, first, tuple(name_tokens(token, found, tokenizer) for token, found in scored))


def allow_token(token: int) -> bytes:
    """The mask under which nothing but the token may be drawn."""
    mask = bytearray(token // 8 + 1)
    mask[-1] = 1 << token % 8
    return bytes(mask)


def count_rows_each(model: TokenModel, scoring: int, running: int) -> int:
    """Tokens that each of `scoring` prompts may have scored in one step beside the others of `running` sequences."""
    spec: ModelSpec = model.spec
    if spec.grain is not None or not isinstance(model, Trims):
        # Passes of one size whatever else runs; and guesses, which these are, cannot be taken back.
        return 1
    return max(1, (count_drawn_rows(spec) - (running - scoring)) // max(1, scoring))


def name_tokens(token: int, logprob: StepLogprob, tokenizer: Tokenizer) -> TokenLogprob:
    """A step's log-probabilities with the tokens' bytes in place of their ids."""

    def one(token: int, value: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        data = tokenizer.piece(token)
        return TokenLogprob(data.decode("utf-8", "replace"), data, value, top, token)

    return one(token, logprob.chosen, tuple(one(other.token, other.logprob) for other in logprob.top))
