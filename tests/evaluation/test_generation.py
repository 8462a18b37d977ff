from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from thinwire.errors import UsageError
from thinwire.evaluation import generation
from thinwire.evaluation.generation import (
    StopRule,
    cut_at_stop,
    decoding_step,
    greedy,
    greedy_batches,
    lay_out_prompts,
    prefill,
    prefill_chunks,
)
from thinwire.model.language_model import LanguageModel
from thinwire.ops.segment_attention import patched_attention
from tiny_models import EOS_ID, tiny_gemma_lm, tiny_llama, tiny_lm, tiny_tokenizer

NEVER = StopRule(end_ids=frozenset(), newline_ids=frozenset(), max_new_tokens=6)
LM = tiny_lm()
PROMPTS = st.lists(st.lists(st.integers(5, 260), min_size=1, max_size=30), min_size=1, max_size=6)


@pytest.mark.parametrize("lm", [LM, tiny_gemma_lm()], ids=["llama", "gemma"])
@settings(max_examples=25, deadline=None)
@given(prompts=PROMPTS)
def test_a_batch_is_answered_as_transformers_generate_answers_each_prompt_alone(lm, prompts):
    # The reference has no packing, no batch and not our cache; logits taken at a padded position would differ.
    ours = greedy(lm, lm.embedding_matrix, prompts, NEVER)
    for prompt, answer in zip(prompts, ours, strict=True):
        alone = lm.model.generate(
            torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        assert list(answer.ids) == alone[0, len(prompt) :].tolist()
        assert answer.stop_reason == "length"


def test_padding_needs_no_token_of_its_own():
    # A tokenizer whose pad is its end token: masks come from lengths, so real end tokens inside a prompt still count.
    lm = LanguageModel(model=tiny_llama(), tokenizer=tiny_tokenizer(pad_is_eos=True), name="tiny", revision="test")
    prompts = [[40, EOS_ID, 41, EOS_ID], list(range(10, 40))]
    together = greedy(lm, lm.embedding_matrix, prompts, NEVER)
    assert together == [greedy(lm, lm.embedding_matrix, [prompt], NEVER)[0] for prompt in prompts]


def test_every_row_stops_at_its_own_end_and_the_other_rows_do_not_change():
    prompts = [[n, n + 1, n + 2] for n in range(10, 90, 8)]
    free = greedy(LM, LM.embedding_matrix, prompts, NEVER)
    end = free[0].ids[2]
    stopped = greedy(
        LM, LM.embedding_matrix, prompts, StopRule(end_ids=frozenset({end}), newline_ids=frozenset(), max_new_tokens=6)
    )
    assert stopped[0].ids == free[0].ids[: free[0].ids.index(end)]
    for before, after in zip(free, stopped, strict=True):
        expected = before.ids[: before.ids.index(end)] if end in before.ids else before.ids
        assert after.ids == expected
        assert after.stop_reason == ("end" if end in before.ids else "length")
    assert len({answer.stop_reason for answer in stopped}) == 2


def test_a_newline_ends_an_answer_and_is_kept_for_the_first_line_to_drop():
    free = greedy(LM, LM.embedding_matrix, [[50, 60, 70]], NEVER)[0]
    rule = StopRule(end_ids=frozenset(), newline_ids=frozenset({free.ids[1]}), max_new_tokens=6)
    stopped = greedy(LM, LM.embedding_matrix, [[50, 60, 70]], rule)[0]
    assert stopped.ids == free.ids[: free.ids.index(free.ids[1]) + 1]
    assert stopped.stop_reason == "newline"


def test_generated_tokens_are_embedded_by_the_given_matrix_too():
    # Decoding with another matrix must equal a model with that matrix as embeddings, and the original output head.
    matrix = LM.embedding_matrix + 0.5 * torch.randn(
        LM.embedding_matrix.shape, generator=torch.Generator().manual_seed(1)
    )
    folded = tiny_llama()
    folded.lm_head.weight = torch.nn.Parameter(folded.lm_head.weight.clone())
    folded.model.embed_tokens.weight = torch.nn.Parameter(matrix)
    prompt = list(range(20, 30))
    expected = folded.generate(
        torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert list(greedy(LM, matrix, [prompt], NEVER)[0].ids) == expected[0, 10:].tolist()
    assert greedy(LM, matrix, [prompt], NEVER) != greedy(LM, LM.embedding_matrix, [prompt], NEVER)


@pytest.mark.parametrize("most", [1, 4])
def test_an_answer_is_never_longer_than_asked(most):
    rule = StopRule(end_ids=frozenset(), newline_ids=frozenset(), max_new_tokens=most)
    assert [len(answer.ids) for answer in greedy(LM, LM.embedding_matrix, [[9], [9, 10]], rule)] == [most, most]


def test_prompts_with_common_prefixes_are_answered_as_each_alone():
    template, town, river = list(range(5, 40)), list(range(60, 100)), list(range(140, 170))
    prompts = [
        [*template, *town, 7, 8],
        [*template, *river, 9],
        [*template, *town, 10, 11, 12],
        template,  # another prompt begins with all of it
        [*template, *town, 7, 8],  # a duplicate
        [50, 51],  # shares nothing
    ]
    together = greedy(LM, LM.embedding_matrix, prompts, NEVER)
    assert together == [greedy(LM, LM.embedding_matrix, [prompt], NEVER)[0] for prompt in prompts]
    for prompt, answer in zip(prompts, together, strict=True):
        alone = LM.model.generate(
            torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        assert list(answer.ids) == alone[0, len(prompt) :].tolist()
    assert len({answer.ids for answer in together}) == 5, "the endings matter"


def test_rows_that_finish_early_do_not_change_prompts_with_the_same_prefix():
    template = list(range(5, 40))
    prompts = [[*template, n] for n in range(60, 72)]
    free = greedy(LM, LM.embedding_matrix, prompts, NEVER)
    ends = frozenset(answer.ids[1] for answer in free[:8])
    stopped = greedy(
        LM, LM.embedding_matrix, prompts, StopRule(end_ids=ends, newline_ids=frozenset(), max_new_tokens=6)
    )
    for before, after in zip(free, stopped, strict=True):
        cut = next((i for i, token in enumerate(before.ids) if token in ends), 6)
        assert after.ids == before.ids[:cut]
    assert len({len(answer.ids) for answer in stopped}) > 1


TOKENS = st.integers(0, 9)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.lists(TOKENS, min_size=4, max_size=4), min_size=1, max_size=5), st.sets(TOKENS), st.sets(TOKENS))
def test_an_answer_is_cut_at_its_first_stop_token(generated, ends, newlines):
    rule = StopRule(end_ids=frozenset(ends), newline_ids=frozenset(newlines), max_new_tokens=4)
    for answer, tokens in zip(cut_at_stop(np.array(generated), rule), generated, strict=True):
        ids, reason = [], "length"
        for token in tokens:
            if token in ends:
                reason = "end"
                break
            ids.append(token)
            if token in newlines:
                reason = "newline"
                break
        assert (answer.ids, answer.stop_reason) == (tuple(ids), reason)


@pytest.mark.parametrize("steps", [2, 4, 9])
def test_checking_for_stops_less_often_changes_no_answer(steps):
    # As on a GPU: finished rows continue for a while and may generate another end token, which must not count.
    prompts = [[n, n + 1, n + 2] for n in range(10, 90, 8)]
    free = greedy(LM, LM.embedding_matrix, prompts, NEVER)
    ends = frozenset(answer.ids[1] for answer in free[:4])
    rule = StopRule(end_ids=ends, newline_ids=frozenset({free[8].ids[2]}), max_new_tokens=6)
    with patch.dict(generation.STEPS_PER_CHECK, cpu=steps):
        less_often = greedy(LM, LM.embedding_matrix, prompts, rule)
    assert less_often == greedy(LM, LM.embedding_matrix, prompts, rule)
    assert {answer.stop_reason for answer in less_often} == {"end", "newline", "length"}


def test_batches_come_in_their_order_and_are_answered_as_each_alone():
    batches = [[[10, 11], [12]], [[20, 21, 22]], [[30], [31, 32], [33]]]
    alone = [greedy(LM, LM.embedding_matrix, batch, NEVER) for batch in batches]
    assert list(greedy_batches(LM, LM.embedding_matrix, iter(batches), NEVER)) == alone
    assert len({answer.ids for answers in alone for answer in answers}) == 6
    assert list(greedy_batches(LM, LM.embedding_matrix, [], NEVER)) == []


@settings(max_examples=25, deadline=None)
@given(prompts=PROMPTS, most=st.integers(1, 60))
def test_prefill_in_chunks_changes_no_answer(prompts, most):
    # Every other token is an end token: rows finish at all steps, and with them whole chunks.
    rule = StopRule(end_ids=frozenset(range(0, 260, 2)), newline_ids=frozenset(), max_new_tokens=6)
    alone = [greedy(LM, LM.embedding_matrix, [prompt], rule)[0] for prompt in prompts]
    with patch.dict(generation.PREFILL_TOKENS, cpu=most):
        assert greedy(LM, LM.embedding_matrix, prompts, rule) == alone


def test_a_prefill_chunk_has_as_many_prompts_as_fit_and_counts_shared_prefixes_once():
    paragraph = [*range(100, 110)]
    prompts = [[1] * 12, [*paragraph, 2, 3], [*paragraph, 4, 5, 6], [*paragraph, 7], [8, 9]]
    # 12 alone are too many for 11; 12 + 3 + 1 are 16, and two more 18; a chunk's first prompt counts whole.
    parts = {11: [1, 1, 1, 1, 1], 13: [1, 1, 1, 2], 16: [1, 3, 1], 18: [1, 4], 29: [4, 1], 30: [5]}
    for most, sizes in parts.items():
        chunks = [*prefill_chunks(prompts, most)]
        assert [chunk.stop - chunk.start for chunk in chunks] == sizes
        assert [prompt for chunk in chunks for prompt in prompts[chunk]] == prompts


def test_the_next_batch_is_laid_out_and_the_last_one_yielded_while_prefill_runs(monkeypatch):
    events = []

    def record_calls(name):
        real = getattr(generation, name)
        monkeypatch.setattr(generation, name, lambda *args, **more: events.append(name) or real(*args, **more))

    for name in ("lay_out_prompts", "prefill", "decode_batch"):
        record_calls(name)
    for _ in greedy_batches(LM, LM.embedding_matrix, [[[10]], [[20]]], NEVER):
        events.append("yielded")
    first = ["lay_out_prompts", "prefill", "lay_out_prompts", "decode_batch"]
    assert events == [*first, "prefill", "yielded", "decode_batch", "yielded"]


class NoDeviceSync(TorchDispatchMode):
    """Refuses operations for whose result the CPU would have to wait on a GPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__.split(".")[0]
        by_mask = name == "index" and any(index is not None and index.dtype == torch.bool for index in args[1])
        if by_mask or name in {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2"}:
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


def test_neither_prefill_nor_a_decoding_step_waits_for_the_device():
    layout = lay_out_prompts([[*range(5, 40)], [*range(5, 30), 7]], room=5, prefill_tokens=100)
    with NoDeviceSync(), torch.no_grad(), patched_attention(LM.model):
        cache, chosen = prefill(LM, LM.embedding_matrix, layout)
        decoding_step(LM, LM.embedding_matrix, cache, chosen)()
    for waits in (lambda: int(chosen[0]), lambda: chosen[chosen > 0], lambda: bool((chosen > 0).any())):
        with NoDeviceSync(), pytest.raises(AssertionError, match="waits for the device"):
            waits()


def test_a_prompt_beyond_the_models_positions_is_refused_with_a_remedy():
    lm = tiny_lm()
    lm.model.config.max_position_embeddings = 20
    rule = StopRule(end_ids=frozenset(), newline_ids=frozenset(), max_new_tokens=4)
    assert greedy(lm, lm.embedding_matrix, [list(range(16))], rule)
    with pytest.raises(UsageError, match=r"encodes 20 positions, .* have 21; shorten .*prompt\.max_tokens=16"):
        greedy(lm, lm.embedding_matrix, [list(range(16)), list(range(17))], rule)
