import importlib
import itertools

import numpy as np
import pytest
import torch

from benchmark_programs import program
from thinwire.adapter.adapter import Adapter
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.reconstruction_loss import reconstruction_terms
from thinwire.codecs.settings import CodecConfig
from thinwire.config.experiment import ArmConfig
from thinwire.config.settings import AdapterConfig, PromptConfig
from thinwire.data.prompts import PromptEncoder
from thinwire.model.language_model import LanguageModel
from thinwire.schema import build
from thinwire.stats.inference import Interval, Uncertainty
from thinwire.training.losses import cross_entropy
from tiny_models import END_ID, example, tiny_llama, tiny_tokenizer

baseline_loop = importlib.import_module("lib.baseline_loop")
paired_timing = importlib.import_module("lib.paired_timing")
latent_scores = importlib.import_module("lib.latent_scores")
calibration = program("calibration")
coverage = program("coverage")
pca = program("pca")
startup = program("startup")
training = program("training")


def timings(plain, thinwire, units=100):
    """Make timings of these seconds."""
    return {
        "plain": [paired_timing.Timing(seconds=s, units=units) for s in plain],
        "thinwire": [paired_timing.Timing(seconds=s, units=units) for s in thinwire],
    }


def test_pairs_alternate_their_order_after_a_warm_up_of_both():
    ran = []
    works = {name: lambda name=name: ran.append(name) or 1.0 for name in ("plain", "thinwire")}
    paired_timing.measure(works, device=torch.device("cpu"))
    there, back = ["plain", "thinwire"], ["thinwire", "plain"]
    assert ran == there + there + back + there + back + there


def test_each_run_is_timed_alone_and_the_warm_up_is_not_counted():
    now = itertools.accumulate([0, 9, 0, 9, 0, 2, 0, 1, 0, 1, 0, 2, 0, 2, 0, 1, 0, 1, 0, 2, 0, 2, 0, 1])
    works = {"plain": lambda: 10.0, "thinwire": lambda: 10.0}
    found = paired_timing.measure(works, device=torch.device("cpu"), clock=lambda: next(now))
    # The second and the fourth pair run thinwire first: its second is plain's two before it.
    assert [run.seconds for run in found["plain"]] == [2, 2, 2, 2, 2]
    assert [run.seconds for run in found["thinwire"]] == [1, 1, 1, 1, 1]
    assert found["thinwire"][0].rate == 10


def test_a_way_may_time_itself():
    works = {"plain": lambda: paired_timing.Timing(seconds=4.0, units=8.0), "thinwire": lambda: 6.0}
    found = paired_timing.measure(works, device=torch.device("cpu"), clock=itertools.count(step=3).__next__)
    assert [run.rate for run in found["plain"]] == [2.0] * 5  # 8 units in its own 4 seconds
    assert [run.rate for run in found["thinwire"]] == [2.0] * 5  # 6 units in the 3 of the clock


def test_fewer_than_five_pairs_or_more_than_two_ways_are_refused():
    two = dict.fromkeys(("plain", "thinwire"), lambda: 1.0)
    with pytest.raises(ValueError, match="at least 5 pairs"):
        paired_timing.measure(two, device=torch.device("cpu"), pairs=4)
    with pytest.raises(ValueError, match="two ways"):
        paired_timing.measure({**two, "third": lambda: 1.0}, device=torch.device("cpu"))


def test_quantiles_by_hand():
    quantiles = paired_timing.Quantiles.of([40, 10, 30, 20, 50])
    assert quantiles == paired_timing.Quantiles(median=30, low=10, high=50, lower_quartile=20, upper_quartile=40)
    # Six values: the quartiles lie a quarter of the way from the second to the third, and mirrored.
    assert paired_timing.Quantiles.of([1, 2, 3, 4, 5, 6]).lower_quartile == 2.25


def test_ratios_are_of_medians_and_within_pairs():
    # Rates: plain 10, 20, 25, 50, 100; thinwire 50, 40, 50, 100, 100; ratios within pairs 5, 2, 2, 2, 1.
    summary = paired_timing.summarize(timings([10, 5, 4, 2, 1], [2, 2.5, 2, 1, 1]), unit="tokens", floor=200)
    assert summary["ways"]["plain"]["rate"]["median"] == 25
    assert summary["ways"]["thinwire"]["rate"]["median"] == 50
    assert summary["ratio_of_medians"] == 2
    assert summary["ratio_within_pairs"] == {"median": 2, "low": 1, "high": 5}
    assert summary["ways"]["plain"]["share_of_floor"] == 0.125
    assert summary["ways"]["thinwire"]["share_of_floor"] == 0.25


def test_the_table_shows_the_floor_only_where_one_is_known():
    runs = timings([2] * 5, [0.04] * 5)
    assert paired_timing.format_table(paired_timing.summarize(runs, unit="tokens", floor=10_000)).splitlines() == [
        "tokens/s  median           range       quartiles  of the floor",
        "plain         50        50 to 50        50 to 50            0%",
        "thinwire   2,500  2,500 to 2,500  2,500 to 2,500           25%",
        "thinwire / plain: 50.00; within 5 pairs 50.00 (50.00 to 50.00)",
    ]
    assert "floor" not in paired_timing.format_table(paired_timing.summarize(runs, unit="tokens"))


ARM = build(
    ArmConfig,
    {
        "lora": {"rank": 2, "alpha": 4, "dropout": 0},
        "supervision": {"k_tokens": 2, "ce_weight": 1},
        "training": {"epochs": 4, "batch_size": 2, "lora_lr": 0.01, "adapter_lr": 0.01},
    },
    where="",
)


def plain_parts():
    """Make a tiny float32 model, its input, and three questions of different lengths."""
    model = tiny_llama()
    matrix = model.get_input_embeddings().weight.detach()
    codec = PCACodec.fit(matrix, torch.ones(len(matrix)), CodecConfig(compress_dim=8), 0)
    adapter = Adapter(codec, AdapterConfig(hidden=16), torch.Generator().manual_seed(0))
    plain_input = baseline_loop.PlainInput(adapter=adapter, codes=codec.encode(matrix), matrix=matrix, mean_square=0.25)
    encoder = PromptEncoder(tiny_tokenizer(), PromptConfig())
    contexts = ("In 1843.", "Ada wrote it in 1843.", "She had written all of it by 1843, they say.")
    return model, plain_input, [encoder.encode(example(i, context=context)) for i, context in enumerate(contexts)]


@torch.no_grad()
def test_the_plain_loop_minimizes_the_loss_of_the_method():
    model, plain_input, questions = plain_parts()
    cosines = errors = ce = 0.0
    for question in questions:  # each alone: nothing is padded
        prompt, answer = torch.tensor(question.prompt_ids), torch.tensor(question.answer_ids[:2])
        rows = plain_input.adapter(plain_input.codes[torch.cat([prompt, answer[:-1]])])
        terms = reconstruction_terms(rows[: len(prompt)], plain_input.matrix[prompt], torch.ones(len(prompt)), 0.25)
        cosines, errors = cosines + terms[0], errors + terms[1]
        ce += cross_entropy(model(inputs_embeds=rows[None]).logits[0, len(prompt) - 1 :], answer).sum()
    num_prompt_tokens = sum(len(question.prompt_ids) for question in questions)
    expected = 1 - cosines / num_prompt_tokens + 0.1 * errors / num_prompt_tokens + ce / 6
    batch = baseline_loop.collate(questions, 2, torch.device("cpu"))
    assert float(baseline_loop.batch_loss(model, plain_input, batch, ARM)) == pytest.approx(float(expected), rel=1e-5)


def test_the_plain_loop_trains_counts_real_tokens_and_leaves_the_model_as_it_was():
    model, plain_input, questions = plain_parts()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with baseline_loop.with_lora(model, ARM.lora) as wrapped:
        steps = baseline_loop.train_steps(wrapped, plain_input, questions, ARM, autocast=False)
    assert len(steps) == 8
    # The input of an epoch is each prompt and, of two supervised answer tokens, the first.
    assert sum(step.tokens for step in steps[:2]) == sum(len(question.prompt_ids) + 1 for question in questions)
    assert steps[-1].loss < steps[0].loss
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_plain_loop_answers_in_batches_what_it_answers_alone():
    model, plain_input, questions = plain_parts()
    options = {"stop_ids": {END_ID}, "max_new_tokens": 6, "autocast": False}
    alone, together = (
        baseline_loop.answer(model, tiny_tokenizer(), plain_input, questions, batch_size=size, **options)
        for size in (1, 2)
    )
    assert [a.raw_text for a in alone] == [a.raw_text for a in together]
    assert [a.id for a in together] == ["q0", "q1", "q2"]


def fit(components, variances=(2.0,), explained=0.5):
    return pca.Fit(
        seconds=[1.0],
        peak_bytes=0,
        components=np.array(components),
        variances=np.array(variances),
        explained=explained,
    )


def test_subspaces_differ_by_their_projectors_and_not_by_signs():
    first = fit([[1.0, 0.0]])
    flipped = pca.compare(first, fit([[-1.0, 0.0]], variances=(2.5,), explained=0.75))
    assert flipped == {"explained_variance": 0.25, "largest_relative_variance": pytest.approx(0.2)} | {
        "projector_frobenius": 0
    }
    # Orthogonal axes: the difference of the projectors is diag(1, -1).
    assert pca.compare(first, fit([[0.0, 1.0]]))["projector_frobenius"] == pytest.approx(2**0.5)


def test_both_sides_of_the_pca_benchmark_fit_the_same_tokens(monkeypatch):
    monkeypatch.setattr(pca, "BLOCK_ROWS", 40)  # so that tokens come out of several blocks
    spec = pca.RandomEmbeddings(rows=100, width=64, dtype=torch.float32, seed=0)
    ids = np.random.default_rng(0).integers(0, 100, 900)
    counts = torch.from_numpy(np.bincount(ids, minlength=100))
    ours = pca.fit_thinwire(spec, counts, 8, torch.device("cpu"), 1)
    theirs = pca.fit_sklearn(spec, ids, 8, "full", 2)
    assert len(theirs.seconds) == 2
    assert max(pca.compare(ours, theirs).values()) < 1e-3


def test_a_step_counts_once_its_line_is_complete(tmp_path):
    assert not startup.has_stepped(tmp_path / "none")
    file = tmp_path / "arm" / "diagnostics.jsonl"
    file.parent.mkdir()
    file.write_text('{"event": "evaluation"}\n{"event": "step"}')
    assert not startup.has_stepped(tmp_path)
    file.write_text('{"event": "evaluation"}\n{"event": "step"}\n')
    assert startup.has_stepped(tmp_path)


def test_both_sides_of_the_training_benchmark_take_the_same_tokens():
    arms = [
        build(ArmConfig, {"adapter": {"hidden": 8}, "training": {"epochs": 1, "batch_size": 2}, **changes}, where="")
        for changes in ({}, {"lora": {"rank": 2, "dropout": 0.0}})
    ]
    lm = LanguageModel(model=tiny_llama(), tokenizer=tiny_tokenizer(), name="tiny", revision="test")
    encoder = PromptEncoder(lm.tokenizer, PromptConfig())
    questions = [encoder.encode(example(n)) for n in range(4)]
    sides = training.Sides(lm, questions, arms, plain_batch=4, compiled=False)
    plain, ours = sides.plain(), sides.thinwire()
    # Prompt and answer ("1843" and its end; four tokens supervised, three of them input), four questions, two arms.
    assert plain.units == ours.units == 2 * sum(len(q.prompt_ids) + 3 for q in questions)
    assert plain.seconds > 0 < ours.seconds


# Simulated scores


def test_the_mean_of_simulated_scores_is_worked_out_by_hand():
    scores = latent_scores.Scores(zeros=0.5, ones=0.2, between=(0.4, 0.6))
    # 0.2 at 1, and 0.15 each at 0.4 and 0.6
    assert scores.mean() == pytest.approx(0.35)
    assert scores.mean(scores.shift_for(0.1)) == pytest.approx(0.45)
    assert scores.of(np.array([-3.0, 0.1, 0.6, 3.0])).tolist() == [0.0, 0.4, 0.6, 1.0]


def test_drawn_scores_have_the_mean_and_the_effect_that_is_asked_for():
    rng, sizes = np.random.default_rng(0), np.full(100, 5)
    sums, truth = coverage.simulate(rng, 400, sizes, "F1", 2)
    assert truth.tolist() == [0.03, 0.0]
    gains = (sums[..., 1:] - sums[..., :1]).sum(1) / 500
    # The standard error of a gain is about 1.5 points a sweep.
    assert gains.mean(0) == pytest.approx(truth, abs=4 * 0.015 / 400**0.5)
    assert sums[..., 0].sum() / 400 / 500 == pytest.approx(latent_scores.F1.mean(), abs=0.006)


def test_nearly_equal_arms_differ_in_few_questions_and_gain_in_proportion():
    sums, truth = coverage.simulate(np.random.default_rng(0), 300, np.ones(100, int), "nearly equal", 1)
    assert truth[0] == pytest.approx(0.03 * 0.03)
    assert (sums[..., 0] != sums[..., 1]).mean() < 0.03


def test_luck_moves_the_mean_by_its_points():
    rng, sizes = np.random.default_rng(0), np.full(100, 50)
    means = coverage.lucky_sums(rng, sizes, [1] * 200, [0.0] * 200, [4.4] * 200)[:, 1:].sum(0) / 5000
    # Sampling 5,000 questions adds little: 200 standard deviations of 4.4 points are known within 5 %.
    assert means.std() == pytest.approx(0.044, rel=0.2)


@pytest.mark.parametrize(("size", "num"), [("one", 2), ("five", 4), ("unequal", 4)])
def test_cells_without_information_are_refused(size, num):
    found = coverage.measure_cell(num, size, "F1", 1, 5, 200, 0)
    assert found["refused"] == 1
    assert "covered" not in found


@pytest.mark.slow
@pytest.mark.parametrize(("size", "num"), [("one", 12), ("five", 6), ("five", 20), ("unequal", 12)])
@pytest.mark.parametrize("kind", ["0/1", "95 % zeros", "nearly equal", "F1"])
@pytest.mark.parametrize("arms", [1, 10])
def test_intervals_hold_the_truth_in_small_samples(size, num, kind, arms):
    found = coverage.measure_cell(num, size, kind, arms, 300, 299, 1)
    assert found["refused"] == 0
    # A true 95 % shows 92 % or less in 1 of 60 samples of 300.
    assert found["covered"] >= 0.92
    assert found["narrowest_half_width"] > 0


@pytest.mark.parametrize("kind", ["0/1", "continuous", "95 % zeros"])
def test_simulated_interactions_are_what_they_are_asked_to_be(kind):
    gains, truth = coverage.GAINS[kind], coverage.true_interactions(2, 0.03)
    assert truth.tolist() == [0.03, 0.0]
    scores = coverage.simulate_interactions(np.random.default_rng(0), 400, np.full(100, 5), gains, truth)
    assert scores.shape == (400, 500, 6)
    means = scores.mean((0, 1))
    baselines, arms = means[:3], means[3:]
    # The standard error of a gain is about 1.5 points a sweep, that of a difference of two gains about 2.
    assert arms - baselines == pytest.approx([gains.gain, gains.gain + 0.03, gains.gain], abs=4 * 0.015 / 400**0.5)
    assert arms[1:] - baselines[1:] - (arms - baselines)[0] == pytest.approx(truth, abs=4 * 0.02 / 400**0.5)
    assert baselines == pytest.approx(gains.scores.mean() + np.array([gains.reference_level, 0, 0]), abs=0.006)


def test_only_an_interval_that_leaves_out_a_true_zero_is_a_false_claim():
    def interval(*ends):
        return Uncertainty(
            outcome="compared", reason=None, simultaneous=Interval(low=ends[0], high=ends[1]) if ends else None
        )

    none, above, around = interval(), interval(0.01, 0.05), interval(-0.01, 0.05)
    truth = np.array([0.03, 0.0])
    sweeps = [[above, around], [above, above], [around, interval(-0.2, -0.1)], [none, none]]
    assert coverage.false_claims([(sweep, truth) for sweep in sweeps]) == 0.5
    assert coverage.false_claims([([above], np.array([0.03]))]) is None


@pytest.mark.parametrize("num", [1, 4])
def test_interactions_of_too_few_paragraphs_are_refused_and_claim_nothing(num):
    found = coverage.measure_interactions(5, "five", "0/1", num, 0.0, 5, 200, 0)
    assert (found["refused"], found["false_claims"]) == (1, 0)
    assert "covered" not in found


@pytest.mark.parametrize("num", [1, 4])
def test_intervals_of_interactions_hold_the_truth(num):
    found = coverage.measure_interactions(12, "unequal", "0/1", num, 0.03, 100, 199, 1)
    # A true 95 % shows less than 89 % in 1 of 230 samples of 100.
    assert (found["refused"], found["sweeps"]) == (0, 100)
    assert found["covered"] >= 0.89
    assert found["narrowest_half_width"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("num", [8, 20, 50])
def test_no_help_is_not_said_where_nothing_could_be_seen(num):
    assert coverage.measure_cell(num, "one", "rare", 1, 300, 299, 1)["false_no_help"] <= 0.05


@pytest.mark.slow
def test_intervals_over_two_seeds_hold_the_truth():
    assert coverage.measure_seeds(10, 2, 4.4, 4.4, 60, 299, 1)["covered"] >= 0.9
    assert coverage.measure_ceiling(2, 1.7, 60, 1)["covered"] >= 0.87


def test_a_sweep_without_effect_declares_what_its_intervals_say():
    baseline, arms = calibration.simulate(np.random.default_rng(0), 100, 0.0)
    comparison = calibration.compare_to_baseline(baseline, arms, num_resamples=200)
    declared = calibration.declared(comparison, 0.0)
    assert declared["any_simultaneous_excludes_0"] is declared["any_simultaneous_misses_truth"] is False
    assert not declared["helped"]
