"""An executorch program of a language model, run by executorch's Python runtime. Imported in its own process alone.

What a program has to offer is what executorch's exporters for language models write: `forward(tokens, position)` with
the KV cache inside, and constant methods that tell of it (extension/llm/runner/llm_runner_helper.cpp). The package's
ready-made runner is not used: it takes no seed, no penalties and no log-probabilities, and its Python binding fails at
the first token that is but a part of a character.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from core.decoding.sampling import Logits, Sampler, compute_logprob
from core.engines.executorch.wire import Draw, Drawn, ProgramReady

FALLBACK_TOKENS: Final = 128
"""The runner's own default where a program does not tell how much it holds."""
CHUNK_TOKENS: Final = 256
"""Tokens of a prompt computed between two looks at whether to go on."""


class UnfitProgram(Exception):
    """The program cannot be run here; the message is the end of a sentence."""


class Program:
    """Raises UnfitProgram for what is no such program, or what this build of executorch cannot run."""

    def __init__(self, path: str) -> None:
        import torch
        from executorch.runtime import Runtime

        _register_kernels()
        self._torch = torch
        try:
            self._program = Runtime.get().load_program(path)
        except (RuntimeError, ValueError, OSError) as error:
            raise UnfitProgram(f"executorch cannot read it ({error})") from error
        self._names = frozenset(self._program.method_names)
        if "forward" not in self._names:
            raise UnfitProgram("it has no method `forward`; it was exported for another runner")
        try:
            self._forward = self._program.load_method("forward")
        except (RuntimeError, ValueError) as error:
            raise UnfitProgram(f"executorch cannot load its method `forward` ({error})") from error
        self._ranged = self._wants_range()
        self.ready = self._describe()

    def draw(self, work: Draw) -> Iterator[Drawn | None]:
        """The tokens of one request, the last an end or the limit; None after each chunk of the prompt.

        Raises UnfitProgram when a pass fails.
        """
        sampler = Sampler(work.sampling, work.prompt, self.ready.context)
        position = 0
        logits: Logits | None = None
        for start in range(0, len(work.prompt), self.ready.chunk):
            tokens = work.prompt[start : start + self.ready.chunk]
            logits = self._run(tokens, position)
            position += len(tokens)
            yield None
        assert logits is not None, "a prompt is never empty"
        wanted = work.sampling.logprobs
        for left in range(work.limit - 1, -1, -1):
            token = sampler.draw(logits)
            yield Drawn(token, None if wanted is None else compute_logprob(logits, token, wanted))
            if token in work.ends or not left:
                return
            logits = self._run((token,), position)
            position += 1

    def _run(self, tokens: Sequence[int], position: int) -> Logits:
        """One pass over tokens from `position` on; the logits (vocabulary,) of what follows the last."""
        torch = self._torch
        positions = range(position, position + len(tokens)) if self._ranged else (position,)
        inputs = torch.tensor([list(tokens)], dtype=torch.long), torch.tensor(list(positions), dtype=torch.long)
        try:
            found: Any = self._forward.execute(inputs)[0]
        except (RuntimeError, ValueError, IndexError) as error:
            raise UnfitProgram(f"its forward pass failed ({error})") from error
        # A copy: the program writes its next output to the same memory.
        logits: Logits = np.array(found.float().numpy(), np.float32).reshape(-1, found.shape[-1])[-1]
        if np.isnan(logits).any():
            raise UnfitProgram("it computed logits that are no numbers")
        return logits

    def _wants_range(self) -> bool:
        """Whether `forward` takes the position of every token, or that of the first alone."""
        metadata = self._forward.metadata
        if metadata.num_inputs() != 2:
            raise UnfitProgram(
                f"its method `forward` takes {metadata.num_inputs()} inputs instead of tokens and a position; "
                "export it with a KV cache inside"
            )
        size = 1
        for length in metadata.input_tensor_meta(1).sizes():
            size *= length
        return size > 1

    def _describe(self) -> ProgramReady:
        longest = self._constant("get_max_seq_len", FALLBACK_TOKENS)
        width = self._forward.metadata.input_tensor_meta(0).sizes()[-1]
        dynamic = bool(self._constant("enable_dynamic_shape", 0))
        if not dynamic and width > 1:
            raise UnfitProgram(
                f"its method `forward` takes exactly {width} tokens at a time; export it with dynamic shapes"
            )
        context = self._constant("get_max_context_len", longest)
        chunk = max(1, min(CHUNK_TOKENS, width, longest)) if dynamic else 1
        ends = tuple(int(value) for value in self._values("get_eos_ids"))
        self.ready = ProgramReady(context, self._constant("get_vocab_size", 0), chunk, ends)
        # A program may load whose kernels or delegates then do not run: better known now.
        vocabulary = len(self._run((0,), 0))
        return ProgramReady(context, vocabulary, chunk, ends)

    def _constant(self, name: str, default: int) -> int:
        values = self._values(name)
        return int(values[0]) if values else default

    def _values(self, name: str) -> Sequence[Any]:
        """What a constant method gives; nothing where the program has none of that name."""
        if name not in self._names:
            return ()
        try:
            found: Sequence[Any] = self._program.load_method(name).execute([])
        except (RuntimeError, ValueError) as error:
            raise UnfitProgram(f"its method `{name}` fails ({error})") from error
        return found


def _register_kernels() -> None:
    """The kernels that exporters for language models fuse to, and the quantized ones, which register when imported."""
    from importlib import import_module

    for module in ("executorch.extension.llm.custom_ops.custom_ops", "executorch.kernels.quantized"):
        try:
            import_module(module)
        except (ImportError, AssertionError, OSError, RuntimeError):
            # A build without them runs programs that need none, and refuses the others by the kernel's name.
            continue
