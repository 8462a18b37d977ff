"""The default model and real SQuAD: a few runs of the whole way, on what a newcomer gets."""

import json

import pytest
import torch

from thinwire.assets import ASSETS, cache_dir
from thinwire.batching import token_counts
from thinwire.codecs import PCACodec
from thinwire.config import CodecConfig, Experiment, ModelConfig, PromptConfig, build
from thinwire.evaluate import answer_questions, summarize
from thinwire.generate import StopRule, greedy
from thinwire.model import load
from thinwire.precision import fast_dtype
from thinwire.prompts import PromptEncoder
from thinwire.questions import load_questions
from thinwire.reader import CodecReader
from thinwire.squad import draw
from thinwire.sweep import run_sweep

pytestmark = [
    pytest.mark.real,
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
    return encoder, [encoder.encode(example) for example in draw(dev, 12, 0, "test")]


def test_squad_has_its_official_sizes_and_every_first_answer_lies_where_it_says(dev):
    train = load_questions("squad", "train")
    assert (len(train), len(dev)) == (87_599, 10_570)
    assert len({example.article for example in train}) == 442
    for example in train[::97] + dev[::97]:
        start = example.answer_start
        assert example.context[start : start + len(example.answers[0])] == example.answers[0]


def test_the_default_models_answers_end_at_its_end_of_turn_and_not_at_a_wrong_eos(lm, questions):
    encoder, _ = questions
    assert lm.revision == ASSETS["smollm2-135m"].files[0].sha256
    assert (lm.num_layers, tuple(lm.table.shape)) == (30, (49_152, 576))
    assert lm.tokenizer.convert_ids_to_tokens(encoder.end_id) == "<|im_end|>"
    assert encoder.end_id == lm.tokenizer.eos_token_id == 2
    assert lm.stop_ids(encoder.end_id) == {2}


def test_the_default_model_knows_what_it_was_asked(lm):
    text = lm.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], tokenize=False, add_generation_prompt=True
    )
    prompt = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    rule = StopRule(end_ids=frozenset({2}), newline_ids=frozenset(), max_new_tokens=12)
    (answer,) = greedy(lm, lm.table, [prompt], rule)
    assert answer.stop_reason == "end"
    assert "Paris" in lm.tokenizer.decode(answer.ids)


def test_a_padded_batch_answers_as_each_question_alone(lm, questions):
    encoder, encoded = questions
    options = {"max_new_tokens": 6, "pass_tokens": 100_000}
    together = answer_questions(lm, lm.table, encoder, encoded[:4], **options)
    alone = [answer_questions(lm, lm.table, encoder, [question], **options)[0] for question in encoded[:4]]
    assert together == alone
    assert len({len(question.prompt_ids) for question in encoded[:4]}) > 1, "padding was at work"


def test_the_text_is_understood_and_a_bare_codec_at_four_to_one_is_not(lm, questions):
    encoder, encoded = questions
    counts = token_counts(encoded, len(lm.table))
    codec = PCACodec.fit(lm.table, counts, CodecConfig(compress_dim=144), 0)
    # 12 prompts hold about 1,000 different tokens, so 144 axes hold more of their variance than of a whole corpus'.
    assert 0.75 < codec.figures()["explained_variance"] < 0.95
    options = {"max_new_tokens": 16, "pass_tokens": 4096}
    reads_text = summarize(answer_questions(lm, lm.table, encoder, encoded, **options))
    table = CodecReader(codec.encode(lm.table), codec).table(torch.float32)
    reads_codes = summarize(answer_questions(lm, table, encoder, encoded, **options))
    assert reads_text["f1"] > reads_codes["f1"]


def test_a_sweep_of_the_default_model_goes_the_whole_way(tmp_path):
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
    assert [record["status"] for record in records] == ["done", "done"]
    assert records[0]["model"] == {
        "name": "smollm2-135m",
        "revision": ASSETS["smollm2-135m"].files[0].sha256,
        "dtype": str(fast_dtype(torch.device("cpu"))).removeprefix("torch."),
    }
    # Rank 4 on 8 layers of q 576x576, k and v 576x192, o 576x576: 4 x 8 x (1152 + 768 + 768 + 1152).
    assert records[1]["trainable_parameters"]["lora"] == 122_880
    rows = [json.loads(line) for line in (tmp_path / "run" / "baseline" / "diagnostics.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == ["step", "step", "evaluation", "evaluation"]
    assert 0.5 < rows[0]["cosine"] < 1
