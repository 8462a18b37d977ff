"""The default model and real SQuAD, from loading to a small sweep."""

import json

import pytest
import torch

from thinwire.adapter.input_embeddings import CodecEmbeddings
from thinwire.assets import ASSETS
from thinwire.cache import cache_dir
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.token_weights import token_counts
from thinwire.config.experiment import Experiment
from thinwire.config.settings import ModelConfig, PromptConfig
from thinwire.data.answer_form import decide_answer_form
from thinwire.data.distractors import with_distractors
from thinwire.data.prompts import PromptEncoder
from thinwire.data.sources import load_questions
from thinwire.data.splits import draw_examples
from thinwire.evaluation.answering import answer_questions
from thinwire.evaluation.generation import StopRule, greedy
from thinwire.evaluation.prediction import summarize
from thinwire.experiment.sweep import run_sweep
from thinwire.model.loading import load
from thinwire.ops.device import fast_dtype
from thinwire.schema import build
from tiny_codecs import metrics

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all((cache_dir() / "assets" / name).is_dir() for name, asset in ASSETS.items() if asset.is_default),
        reason="the default model and data are not in the cache: run `thinwire fetch`",
    ),
]


@pytest.fixture(scope="module")
def lm():
    return load(ModelConfig(name="smollm2-135m", device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def dev():
    return load_questions("squad", "test")


@pytest.fixture(scope="module")
def questions(lm, dev):
    encoder = PromptEncoder(lm.tokenizer, PromptConfig())
    return encoder, [encoder.encode(example) for example in draw_examples(dev, 12, 0, "test")]


def test_squad_has_its_official_sizes_and_correct_answer_offsets(dev):
    train = load_questions("squad", "train")
    assert (len(train), len(dev)) == (87_599, 10_570)
    assert len({example.article for example in train}) == 442
    for example in train[::97] + dev[::97]:
        start = example.answer_start
        assert example.context[start : start + len(example.answers[0])] == example.answers[0]


def test_the_default_models_answers_end_at_its_end_of_turn_and_not_at_a_wrong_eos(lm, questions):
    encoder, _ = questions
    assert lm.revision == ASSETS["smollm2-135m"].files[0].sha256
    assert (lm.num_layers, tuple(lm.embedding_matrix.shape)) == (30, (49_152, 576))
    assert lm.tokenizer.convert_ids_to_tokens(encoder.end_id) == "<|im_end|>"
    assert encoder.end_id == lm.tokenizer.eos_token_id == 2
    assert lm.stop_ids(encoder.end_id) == {2}


@pytest.mark.parametrize("style", ["chat", "plain"])
def test_squads_answers_get_a_space_in_either_style_because_prompts_contain_them_with_one(lm, style):
    examples = draw_examples(load_questions("squad", "train"), 256, 0, "train")
    encoder = PromptEncoder(lm.tokenizer, PromptConfig(style=style))
    prompts = [encoder.encode(example, keep_answer=True) for example in examples]
    decision = decide_answer_form(encoder, prompts, lambda _: pytest.fail("the prompts decide"))
    assert (decision.form, decision.decided_by, decision.num_questions) == ("space", "in_prompt", 256)
    assert decision.space.in_prompt_share > 0.9
    assert decision.bare.in_prompt_share < 0.3


@pytest.mark.parametrize("style", ["chat", "plain"])
def test_prompt_and_answer_of_the_default_model_have_the_tokens_of_both_as_one_text(lm, dev, style):
    """A bare answer that begins with a sign may share a token with the cue's colon, which no prompt contains; then its
    tokens still spell it."""
    for form, space in (("bare", ""), ("space", " ")):
        encoder = PromptEncoder(lm.tokenizer, PromptConfig(style=style, answer_form=form))
        for example in dev[::500]:
            coded = encoder.encode(example)
            text = space + example.answers[0].strip()
            whole = tuple(lm.tokenizer(encoder.render(example) + text, add_special_tokens=False)["input_ids"])
            assert lm.tokenizer.decode(coded.answer_ids[:-1]) == text
            if form == "space" or style == "chat" or example.answers[0][0].isalnum():
                assert coded.prompt_ids + coded.answer_ids == (*whole, encoder.end_id)


def test_the_default_model_answers_a_question(lm):
    text = lm.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], tokenize=False, add_generation_prompt=True
    )
    prompt = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    rule = StopRule(end_ids=frozenset({2}), newline_ids=frozenset(), max_new_tokens=12)
    (answer,) = greedy(lm, lm.embedding_matrix, [prompt], rule)
    assert answer.stop_reason == "end"
    assert "Paris" in lm.tokenizer.decode(answer.ids)


def test_a_batch_answers_as_each_question_alone(lm, questions):
    encoder, encoded = questions
    options = {"max_new_tokens": 6, "batch_tokens": 100_000}
    together = answer_questions(lm, lm.embedding_matrix, encoder, encoded[:4], **options)
    alone = [answer_questions(lm, lm.embedding_matrix, encoder, [question], **options)[0] for question in encoded[:4]]
    assert together == alone
    assert len({len(question.prompt_ids) for question in encoded[:4]}) > 1, "lengths differ"


def test_the_text_is_understood_and_a_bare_codec_at_four_to_one_is_not(lm, questions):
    encoder, encoded = questions
    counts = token_counts([question.prompt_ids for question in encoded], len(lm.embedding_matrix))
    codec = PCACodec.fit(lm.embedding_matrix, counts, CodecConfig(compress_dim=144), 0)
    # 12 prompts have about 1,000 different tokens, so 144 axes explain more of their variance than of a corpus'.
    assert 0.75 < metrics(codec)["explained_variance"] < 0.95
    options = {"max_new_tokens": 16, "batch_tokens": 4096}
    from_text = summarize(answer_questions(lm, lm.embedding_matrix, encoder, encoded, **options))
    matrix = CodecEmbeddings(codec.encode(lm.embedding_matrix), codec).matrix(torch.float32)
    from_codes = summarize(answer_questions(lm, matrix, encoder, encoded, **options))
    assert from_text.score > from_codes.score


@pytest.mark.parametrize(
    ("distractors", "share", "beginning", "bm25"),
    [(0, 0.5, 65, 91), (0, 0.25, 40, 73), (7, 0.5, 58, 97), (7, 0.25, 34, 95)],
)
def test_as_many_answers_are_left_in_shortened_contexts_as_docs_method_says(
    lm, dev, distractors, share, beginning, bm25
):
    asked = with_distractors(draw_examples(dev, 500, 0, "test"), dev, distractors, 0)
    for choice, expected in (("beginning", beginning), ("bm25", bm25)):
        config = PromptConfig(max_tokens=4096, context_share=share, context_choice=choice)
        encoder, left = PromptEncoder(lm.tokenizer, config), 0
        for question in map(encoder.encode, asked):
            assert question.dropped == 0
            text = lm.tokenizer.decode([question.prompt_ids[place] for place in question.context])
            left += any(answer in text for answer in question.example.answers)
        assert round(left / 5) == expected


def test_a_small_sweep_of_the_default_model(tmp_path):
    experiment = build(
        Experiment,
        {
            "name": "small",
            "model": {"device": "cpu"},
            "data": {"samples": 8},
            "reconstruction": {"steps": 20},
            "adapter": {"hidden": 64},
            "training": {"epochs": 1, "batch_size": 4},
            "evaluation": {"samples": 2, "selection_samples": 2, "max_new_tokens": 4},
            "arms": {"baseline": {}, "r4_a8_layers8": {"lora": {"rank": 4, "alpha": 8, "layers": 8}}},
        },
        where="",
    )
    records = run_sweep(experiment, tmp_path / "run")
    assert [record.status for record in records] == ["done", "done"]
    assert records[0].model.model_dump() == {
        "name": "smollm2-135m",
        "revision": ASSETS["smollm2-135m"].files[0].sha256,
        "dtype": str(fast_dtype(torch.device("cpu"))).removeprefix("torch."),
        "base_bits": None,
    }
    # Rank 4 on 8 layers of q 576x576, k and v 576x192, o 576x576: 4 x 8 x (1152 + 768 + 768 + 1152).
    assert records[1].done.trainable_parameters.lora == 122_880
    rows = [json.loads(line) for line in (tmp_path / "run" / "baseline" / "diagnostics.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == ["step", "step", "evaluation", "evaluation"]
    assert 0.5 < rows[0]["cosine"] < 1
