from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from core.contract.step import SequenceId, Work
from core.engines.onnx.batching import Batching, group_work, measure_batching
from core.engines.onnx.model import OnnxModel
from core.requests import Sampling
from tests.core.engines.onnx.conftest import load

GREEDY = Sampling(temperature=0.0)


def decode(count: int) -> list[Work]:
    return [Work(SequenceId(index), [1], sample=True) for index in range(count)]


def test_sequences_of_similar_length_go_together() -> None:
    assert group_work(decode(3), [10, 12, 11], Batching.LEADING) == [[1, 2, 0]]


def test_a_short_sequence_does_not_pad_itself_to_a_long_one() -> None:
    assert group_work(decode(3), [10, 1000, 11], Batching.LEADING) == [[1], [2, 0]]


def test_only_equal_lengths_go_together_where_padding_is_not_masked() -> None:
    assert group_work(decode(4), [10, 12, 10, 12], Batching.EQUAL) == [[1, 3], [0, 2]]


def test_everyone_goes_alone_where_rows_influence_each_other() -> None:
    assert group_work(decode(2), [10, 10], Batching.NONE) == [[0], [1]]


def test_prefill_and_drafts_go_alone() -> None:
    work = [*decode(2), Work(SequenceId(2), [1, 2], sample=True), Work(SequenceId(3), [1], sample=True, draft=[5])]
    assert group_work(work, [4, 4, 4, 4], Batching.LEADING) == [[0, 1], [2], [3]]


def test_guide_masks_its_padding(model: OnnxModel) -> None:
    assert measure_batching(model._graph) is Batching.LEADING


def changed(folder: Path, change: object) -> Path:
    path = folder / "onnx" / "model.onnx"
    proto = onnx.load(path)
    assert callable(change)
    change(proto.graph)
    onnx.save(proto, path)
    return folder


def test_a_graph_that_does_not_look_at_its_mask_is_found_out(folder: Path) -> None:
    def ignore_mask(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            if node.op_type == "Cast" and node.input[0] == "attention_mask":
                graph.initializer.append(helper.make_tensor("nought", TensorProto.INT64, [1], [0]))
                zeros = helper.make_node("GreaterOrEqual", ["attention_mask", "nought"], list(node.output))
                node.CopyFrom(zeros)

    assert load(changed(folder, ignore_mask))._batching is Batching.EQUAL


def test_a_graph_whose_rows_influence_each_other_is_found_out(folder: Path) -> None:
    def mix_rows(graph: onnx.GraphProto) -> None:
        (last,) = [node for node in graph.node if node.output[0] == "logits"]
        last.output[0] = "unmixed"
        graph.node.append(helper.make_node("ReduceMax", ["unmixed"], ["largest"], axes=[0], keepdims=1))
        graph.node.append(helper.make_node("Add", ["unmixed", "largest"], ["logits"]))

    model = load(changed(folder, mix_rows))
    assert model._batching is Batching.NONE
    assert any("no two sequences" in note for note in model.spec.notes)


def test_sequences_of_different_length_get_what_they_get_alone(model: OnnxModel) -> None:
    prompts = [[1, *range(40, 40 + length)] for length in (3, 9, 5)]
    alone = [continued(model, prompt, 6) for prompt in prompts]
    sequences = [model.open(GREEDY) for _ in prompts]
    for sequence, prompt in zip(sequences, prompts, strict=True):
        model.step([Work(sequence, prompt[:-1], sample=False)])
    pending = [prompt[-1:] for prompt in prompts]
    drawn: list[list[int]] = [[] for _ in prompts]
    for turn in range(6):
        # One leaves for a turn, so that the block is left and joined again.
        taking = [index for index in range(3) if turn != 2 or index != 1]
        steps = model.step([Work(sequences[index], pending[index], sample=True) for index in taking])
        for index, step in zip(taking, steps, strict=True):
            pending[index] = list(step.tokens)
            drawn[index].extend(step.tokens)
    for sequence in sequences:
        model.close(sequence)
    assert drawn == [alone[0], alone[1][:5], alone[2]]


def test_a_sequence_that_leaves_a_batch_keeps_no_more_than_its_own(model: OnnxModel) -> None:
    first, second = model.open(GREEDY), model.open(GREEDY)
    for sequence in (first, second):
        model.step([Work(sequence, [1, 2, 3], sample=False)])
    model.step([Work(first, [4], sample=False), Work(second, [5], sample=False)])
    shared = model._sequences[second].view.block
    assert shared is model._sequences[first].view.block
    model.step([Work(first, [6], sample=False)])
    left = model._sequences[second].view.block
    assert (left.rows, left.width) == (1, 4)
    assert not shared.views
    model.close(first)
    model.close(second)


def test_a_block_serves_again_while_the_same_sequences_go_on(model: OnnxModel) -> None:
    sequences = [model.open(GREEDY) for _ in range(2)]
    for sequence, prompt in zip(sequences, ([1, 2, 3], [1, 2]), strict=True):
        model.step([Work(sequence, prompt, sample=False)])
    for _ in range(2):
        model.step([Work(sequence, [4], sample=False) for sequence in sequences])
    views = [model._sequences[sequence].view for sequence in sequences]
    assert views[0].block is views[1].block
    assert [(view.row, view.start, view.length) for view in views] == [(0, 0, 5), (1, 1, 4)]
    padding = views[0].block.values[0].numpy()[1, :, :1]
    assert not np.any(padding)
    for sequence in sequences:
        model.close(sequence)


def continued(model: OnnxModel, prompt: list[int], count: int) -> list[int]:
    sequence = model.open(GREEDY)
    (step,) = model.step([Work(sequence, prompt, sample=True)])
    drawn = [*step.tokens]
    while len(drawn) < count:
        (step,) = model.step([Work(sequence, drawn[-1:], sample=True)])
        drawn.extend(step.tokens)
    model.close(sequence)
    return drawn
