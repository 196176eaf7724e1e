"""How the weights of a model are divided among its layers, and within one: what decides where they can lie.

The names of tensors are those of GGUF files. Which part a tensor belongs to is as llama.cpp has it (`llama-arch.cpp`,
`LLM_TENSOR_INFOS`): the embeddings of tokens belong to the input, which stays with the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

BLOCK: Final = re.compile(r"blk\.(\d+)\.")
EXPERTS: Final = re.compile(r"\.ffn_(?:up|down|gate|gate_up)_(?:ch)?exps")
"""As `--cpu-moe` of llama.cpp tells them (LLM_FFN_EXPS_REGEX in its common.h), which reads this pattern too; experts
that all tokens share are no part of it."""
FEED_FORWARD: Final = re.compile(r"\.ffn_(?!norm)")
INPUT: Final = ("token_embd.", "token_embd_norm", "position_embd", "token_types", "per_layer_token_embd")
EMBEDDING: Final = "token_embd.weight"
HEAD: Final = "output.weight"


class WeightTensor(Struct, frozen=True):
    name: str
    bytes: int


class Block(Struct, frozen=True):
    """Bytes of the weights of one layer."""

    attention: int = 0
    """Whatever is neither of the others: norms and recurrent parts are in it."""
    feed_forward: int = 0
    """Of all tokens: with experts, those that they share, and what chooses among the others."""
    experts: int = 0
    largest: int = 0
    """The largest matrix, that of all experts together counted as one."""

    @property
    def steady(self) -> int:
        """What never moves to other memory than the layer's."""
        return self.attention + self.feed_forward

    @property
    def bytes(self) -> int:
        return self.steady + self.experts


class WeightLayout(Struct, frozen=True):
    """All weights of a model, in bytes."""

    input: int
    """The embeddings of tokens, and what else is looked up."""
    output: int
    """The head, and the norm before it."""
    blocks: tuple[Block, ...]
    tied: int = 0
    """Of the embeddings, what serves as the head too: a device that takes the output has a copy of it."""

    @property
    def bytes(self) -> int:
        """Of the file; a copy for a device is not counted."""
        return self.input + self.output + sum(block.bytes for block in self.blocks)

    @property
    def head(self) -> int:
        """What lies where the output does."""
        return self.output + self.tied

    @property
    def experts(self) -> int:
        """So many of the first layers reach to the last that has experts; zero where none has."""
        return max((index + 1 for index, block in enumerate(self.blocks) if block.experts), default=0)


def scale_tensors(tensors: Iterable[WeightTensor], factor: float) -> tuple[WeightTensor, ...]:
    """Those of another quant, whose weights are so much larger; all alike."""
    return tuple(replace(tensor, bytes=round(tensor.bytes * factor)) for tensor in tensors)


def divide_weights(tensors: Iterable[WeightTensor], layers: int, whole: int) -> WeightLayout:
    """The layout of a model with so many `layers`. What is missing to `whole` bytes, because files were not read, is
    taken to lie in the layers of which no tensor is known."""
    attention, feed_forward, experts, largest = ([0] * layers for _ in range(4))
    input_ = output = embedding = 0
    headed = False
    for tensor in tensors:
        found = BLOCK.match(tensor.name)
        if found is None or int(found[1]) >= layers:
            if tensor.name.startswith(INPUT):
                input_ += tensor.bytes
                embedding += tensor.bytes if tensor.name == EMBEDDING else 0
            else:
                output += tensor.bytes
                headed = headed or tensor.name == HEAD
            continue
        index = int(found[1])
        kind = (
            experts if EXPERTS.search(tensor.name) else feed_forward if FEED_FORWARD.search(tensor.name) else attention
        )
        kind[index] += tensor.bytes
        largest[index] = max(largest[index], tensor.bytes)
    blocks = tuple(map(Block, attention, feed_forward, experts, largest))
    layout = WeightLayout(input_, output, blocks, 0 if headed else embedding)
    return _fill(layout, whole - layout.bytes)


def drop_last_blocks(layout: WeightLayout, count: int) -> WeightLayout:
    """Without the weights of the last layers, which are not loaded; their numbers stay."""
    kept = len(layout.blocks) - count
    return replace(layout, blocks=(*layout.blocks[:kept], *(Block(),) * count))


def guess_layout(layers: int, weights: int, embedding: int) -> WeightLayout:
    """Where no file tells it: all layers alike, and `embedding` bytes that serve as the head too."""
    if not layers:
        return WeightLayout(0, weights, ())
    embedding = min(embedding, weights)
    each, rest = divmod(weights - embedding, layers)
    blocks = (Block(attention=each // 3, feed_forward=each - each // 3, largest=each // 4),) * layers
    return WeightLayout(embedding, rest, blocks, embedding)


def _fill(layout: WeightLayout, missing: int) -> WeightLayout:
    if missing <= 0 or not layout.blocks:
        return replace(layout, output=layout.output + max(0, missing))
    empty = [index for index, block in enumerate(layout.blocks) if not block.bytes]
    if not empty:
        # Padding between tensors, or layers that were told of twice.
        return replace(layout, output=layout.output + missing)
    like = _average([block for block in layout.blocks if block.bytes])
    each, rest = divmod(missing, len(empty))
    factor = each / like.bytes if like.bytes else 0.0
    experts, attention = round(like.experts * factor), round(like.attention * factor)
    made = Block(attention, each - experts - attention, experts, round(like.largest * factor))
    blocks = [made if index in empty else block for index, block in enumerate(layout.blocks)]
    return replace(layout, output=layout.output + rest, blocks=tuple(blocks))


def _average(blocks: Sequence[Block]) -> Block:
    count = max(1, len(blocks))
    return Block(
        sum(block.attention for block in blocks) // count,
        sum(block.feed_forward for block in blocks) // count,
        sum(block.experts for block in blocks) // count,
        sum(block.largest for block in blocks) // count,
    )
