import json
import math

import numpy as np
import pytest
import scipy.stats

from item_files import inspect_log, lm_eval_samples, sample, write_lines, write_scores
from thinwire.config.settings import VerdictConfig
from thinwire.errors import UsageError
from thinwire.items.comparison import Scale, compare_items
from thinwire.items.formats import read_scores
from thinwire.items.item_scores import Choice
from thinwire.items.labels import labelled

RISING = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]


def compare(base, *others, **options):
    return compare_items({"base": [base], **{f"treated{i or ''}": [one] for i, one in enumerate(others)}}, **options)


def of(found, name="treated"):
    return found.comparison.arms[name]


def test_a_paired_difference_as_worked_out_by_hand(tmp_path):
    base = write_scores(tmp_path / "base.jsonl", [0.1] * 8)
    found = compare(base, write_scores(tmp_path / "treated.jsonl", [0.1 + 0.1 * i for i in range(1, 9)]))
    # Differences 0.1 to 0.8: mean 0.45, squares around it 2 (0.35^2 + 0.25^2 + 0.15^2 + 0.05^2) = 0.42.
    # Standard error sqrt(0.42 / 7 / 8) = 0.0866; Student's t with 7 degrees of freedom is 2.3646 at 97.5 %. That of the
    # resamples is a little larger with so few items, and the larger one counts.
    assert of(found).difference == pytest.approx(0.45)
    assert of(found).standard_error == pytest.approx(math.sqrt(0.0075))
    half = of(found).simultaneous.high - 0.45
    assert 0.45 - of(found).simultaneous.low == pytest.approx(half)
    assert 2.364624 <= half / math.sqrt(0.0075) < 2.364624 * 1.1
    assert (found.num_items, found.num_clusters) == (8, None)


def test_items_of_one_cluster_are_no_independent_items(tmp_path):
    # Each of the eight items above comes twice, in one cluster: as clusters, the standard error stays what it was. As
    # 16 independent items it would be sqrt(0.84 / 15 / 16) = 0.0592.
    clusters = [f"c{i}" for i in range(8) for _ in range(2)]
    base = write_scores(tmp_path / "base.jsonl", [0.0] * 16, cluster=clusters)
    treated = write_scores(tmp_path / "treated.jsonl", [x for x in RISING for _ in range(2)])
    found = compare(base, treated)
    assert (found.num_items, found.num_clusters) == (16, 8)
    assert of(found).standard_error == pytest.approx(math.sqrt(0.0075))
    alone = compare(write_scores(tmp_path / "base.jsonl", [0.0] * 16), treated)
    assert of(alone).standard_error == pytest.approx(math.sqrt(0.0035))


def differences():
    base, treated = (read_scores(lm_eval_samples(model, "sums"), Choice()).items for model in ("steps100", "steps250"))
    return np.array([b.score - a.score for a, b in zip(base, treated, strict=True)])


def test_the_interval_of_a_real_run_is_scipys_of_paired_samples():
    found = of(compare(lm_eval_samples("steps100", "sums"), lm_eval_samples("steps250", "sums")))
    own = scipy.stats.ttest_1samp(differences(), 0)
    interval = own.confidence_interval(0.95)
    assert (found.simultaneous.low, found.simultaneous.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    # Two unpaired samples of 32, as lm-eval compares them, would have a standard error of
    # sqrt(0.0870^2 + 0.03125^2) = 0.0924; pairing gives 0.0882.
    assert found.standard_error == pytest.approx(0.08821, abs=1e-5)
    assert found.p_value >= own.pvalue


def test_the_interval_of_a_real_run_in_clusters_is_scipys_of_their_means():
    choice = Choice(cluster="a")
    found = of(compare(lm_eval_samples("steps100", "sums"), lm_eval_samples("steps250", "sums"), choice=choice))
    interval = scipy.stats.ttest_1samp(differences().reshape(8, 4).mean(1), 0).confidence_interval(0.95)
    assert (found.simultaneous.low, found.simultaneous.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_more_treatments_make_every_interval_wider(tmp_path):
    rng = np.random.default_rng(0)
    files = [write_scores(tmp_path / f"{i}.jsonl", rng.integers(0, 2, 300).tolist()) for i in range(5)]
    alone, together = compare(*files[:2]), compare(*files)
    assert of(together).standard_error == pytest.approx(of(alone).standard_error)
    # Sidak's value for four independent contrasts is 2.49; they share the baseline, so a little less than that.
    assert 1.95 < of(alone).critical < 2.05
    assert 2.3 < of(together).critical < 2.55
    assert of(together).adjusted_p_value >= of(together).p_value


def test_results_of_different_tools_are_paired_by_id(tmp_path):
    plain = tmp_path / "plain.csv"
    plain.write_text("id,score\n" + "".join(f"{i},{1 - i % 2}\n" for i in range(16, 0, -1)))
    log = inspect_log(tmp_path / "log.eval", [sample(i, "C" if i % 4 else "I") for i in range(1, 17)])
    result = compare(log, plain)
    # 12 of 16 are right in the log, 8 in the file; where i % 4 is 0 the file is right alone (4), where i is odd the log
    # alone (8).
    assert (of(result).baseline_mean, of(result).mean, of(result).difference) == (0.75, 0.5, -0.25)
    assert result.metrics == {"base": "match", "treated": "score"}


def test_seeds_are_runs_of_one_result_and_widen_the_interval(tmp_path):
    rng = np.random.default_rng(0)
    items, seeds = 200, 3
    base = write_scores(tmp_path / "base.jsonl", rng.random(items).tolist())
    one = rng.random(items) * 0.5 + 0.5
    shifts = (-0.05, 0.0, 0.05)
    rows = [
        {"id": f"q{i}", "score": min(1.0, one[i] + shift), "seed": seed}
        for seed, shift in enumerate(shifts)
        for i in range(items)
    ]
    treated = tmp_path / "treated.jsonl"
    treated.write_text("\n".join(map(json.dumps, rows)))
    found = compare(base, treated)
    assert (of(found).num_runs, of(found).num_baseline_runs) == (seeds, 1)
    assert found.covers == "items and seeds (one run of the baseline: spread over seeds taken from the other groups)"
    assert of(found).seed_variance > 0
    apart = [tmp_path / f"{k}.jsonl" for k in range(seeds)]
    for k, path in enumerate(apart):
        path.write_text("\n".join(json.dumps({"id": r["id"], "score": r["score"]}) for r in rows if r["seed"] == k))
    same = compare_items({"base": [base], "treated": apart})
    assert of(same) == of(found)


def test_scores_of_another_range_are_scaled_and_outside_of_it_refused(tmp_path):
    base = write_scores(tmp_path / "base.jsonl", [10.0] * 8)
    treated = write_scores(tmp_path / "treated.jsonl", [10 + 100 * x for x in RISING])
    with pytest.raises(UsageError, match=r"base, line 1: score of item 'q0' is 10, expected a number from 0 to 1"):
        compare(base, treated)
    found = compare(base, treated, scale=Scale.of("0:100"))
    assert of(found).difference == pytest.approx(0.45)
    assert found.scale.score(of(found).mean) == pytest.approx(55)
    # A range twice as wide halves what a difference is of it.
    assert of(compare(base, treated, scale=Scale.of("-100:100"))).difference == pytest.approx(0.225)


def test_where_lower_is_better_a_fall_is_a_gain(tmp_path):
    base = write_scores(tmp_path / "base.jsonl", [0.9] * 8)
    treated = write_scores(tmp_path / "treated.jsonl", [0.9 - x for x in RISING])
    found = compare(base, treated, scale=Scale.of("0:1", lower_is_better=True))
    assert of(found).difference == pytest.approx(0.45)
    assert found.scale.score(of(found).mean) == pytest.approx(0.45)
    assert found.judged["treated"].verdict.supported == "strong"
    assert compare(base, treated).judged["treated"].verdict.supported == "harm"


@pytest.mark.parametrize("text", ["1", "1:0", "1:1", "a:b", "0:1:2", "0:nan", "1.2.3:4", ""])
def test_a_scale_is_two_rising_numbers(text):
    with pytest.raises(UsageError, match="--scale takes LOW:HIGH"):
        Scale.of(text)


def test_verdicts_use_the_words_of_items_and_the_tiers_that_are_set(tmp_path):
    base = write_scores(tmp_path / "base.jsonl", [0.0] * 8)
    treated = write_scores(tmp_path / "treated.jsonl", RISING)
    found = compare(base, treated).judged["treated"]
    assert found.headline == "Better than the baseline: strong"
    assert found.lesson == (
        "treated is at least 10 points better than the baseline: "
        "treated gains +45.0 points over the baseline (95% interval +23.4 to +66.6, 8 items)."
    )
    strict = compare(base, treated, settings=VerdictConfig(marginal=30, significant=40, strong=50)).judged["treated"]
    assert strict.headline.startswith("Not resolved: a gain, the estimate is significant")


@pytest.mark.parametrize(
    ("num", "cluster", "words"),
    [
        (5, None, "5 items: an interval needs at least 6 items"),
        (10, [f"c{i % 5}" for i in range(10)], "10 items in 5 clusters: an interval needs at least 6 clusters"),
        (20, [*["big"] * 14, *"abcdef"], "20 items in 7 clusters, so unequal that they count as 2.0"),
    ],
)
def test_too_few_items_or_clusters_are_never_resolved_however_large_the_gain(num, cluster, words, tmp_path):
    columns = {} if cluster is None else {"cluster": cluster}
    base = write_scores(tmp_path / "base.jsonl", [0.0] * num, **columns)
    found = compare(base, write_scores(tmp_path / "treated.jsonl", [1.0] * num, **columns))
    assert of(found).simultaneous is None
    assert found.judged["treated"].verdict.supported is None
    assert found.judged["treated"].headline == "Not resolved: the data give no interval"
    assert words in found.judged["treated"].lesson


def test_equal_results_are_not_known_to_be_equal(tmp_path):
    files = [write_scores(tmp_path / f"{name}.jsonl", [1.0, 0.0] * 10) for name in ("base", "treated")]
    found = compare(*files)
    # Of 20 items none differs: less than 1 - 0.05^(1/20) = 13.9 % do, so that 2 points can be neither way.
    assert of(found).simultaneous.high == pytest.approx(1 - 0.05 ** (1 / 20))
    assert of(found).reason == "no difference in all 20 items: the interval is a bound"
    assert found.judged["treated"].verdict.supported is None


def test_results_of_other_items_are_refused(tmp_path):
    base = write_scores(tmp_path / "base.jsonl", [1.0, 0.0, 1.0])
    shorter, longer = (write_scores(tmp_path / f"{n}.jsonl", [1.0] * n) for n in (2, 5))
    with pytest.raises(UsageError, match=r"treated lacks 1 of the 3 items of base \(first: 'q2'\)"):
        compare(base, shorter)
    with pytest.raises(UsageError, match=r"base lacks 2 of the 5 items of treated \(first: 'q3'\)"):
        compare(base, longer)
    clusters = [["x", "y", "y"], ["x", "x", "y"]]
    one, other = (write_scores(tmp_path / f"c{k}.jsonl", [1.0] * 3, cluster=c) for k, c in enumerate(clusters))
    with pytest.raises(UsageError, match=r"item 'q1' is in cluster 'y' in base and in 'x' in treated"):
        compare(one, other)


def test_items_of_one_id_that_were_asked_something_else_are_refused(tmp_path):
    one = inspect_log(tmp_path / "a.eval", [sample(1, "C"), sample(2, "C")])
    other = inspect_log(tmp_path / "b.eval", [sample(1, "C"), sample(2, "C", target="another")])
    with pytest.raises(UsageError, match=r"item '2' of treated is not item '2' of base: what was asked differs"):
        compare(one, other)
    changed = tmp_path / "samples.jsonl"
    source = lm_eval_samples("steps100", "sums")
    changed.write_text(source.read_text().replace('"doc_hash": "', '"doc_hash": "0', 1))
    with pytest.raises(UsageError, match=r"item '0' of treated is not item '0' of base"):
        compare(source, changed)


def test_one_result_is_no_comparison(tmp_path):
    with pytest.raises(UsageError, match="needs a baseline and at least one other result"):
        compare(write_scores(tmp_path / "base.jsonl", [1.0]))


def test_scores_of_two_metrics_are_refused_in_one_result_and_between_results(tmp_path):
    score = write_scores(tmp_path / "a.jsonl", RISING, other=RISING)
    rows = [json.loads(line) for line in lm_eval_samples("steps100", "sums").read_text().splitlines()]

    def with_metric_alone(metric):
        return write_lines(
            tmp_path / f"{metric}.jsonl", [{**row, "metrics": [metric], metric: row["acc"]} for row in rows]
        )

    files = [with_metric_alone("acc"), with_metric_alone("f1")]
    with pytest.raises(UsageError, match="base has scores of acc,none, and treated of f1,none"):
        compare(*files)
    with pytest.raises(UsageError, match="choose one that all have with --metric"):
        compare_items({"base": [files[0]], "treated": files})
    assert compare(score, write_scores(tmp_path / "b.jsonl", RISING)).metrics["base"] == "score"


def test_a_seed_that_two_files_of_a_result_hold_is_refused(tmp_path):
    files = [write_scores(tmp_path / f"{n}.jsonl", RISING, seed=[1] * 8) for n in "ab"]
    with pytest.raises(UsageError, match="two files of base hold the seed '1'"):
        compare_items({"base": files, "treated": [write_scores(tmp_path / "c.jsonl", RISING)]})


def test_the_choice_that_intervals_cover_is_said_for_each_treatment(tmp_path):
    def seeds(name, num):
        shifted = [[x + 0.01 * seed for x in RISING] for seed in range(num)]
        return [write_scores(tmp_path / f"{name}{n}.jsonl", scores) for n, scores in enumerate(shifted)]

    found = compare_items({"base": seeds("base", 3), "many": seeds("many", 3), "one": seeds("one", 1)})
    assert found.covers == " or ".join(dict.fromkeys(arm.covers for arm in found.comparison.arms.values()))
    assert " or " in found.covers


def test_a_folder_keeps_all_of_its_name(tmp_path, monkeypatch):
    for name in ("Llama-3.1-8B", "Qwen2.5-7B"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "Llama-3.1-8B")
    assert list(labelled([".", "../Qwen2.5-7B", "../x.csv"])) == ["Llama-3.1-8B", "Qwen2.5-7B", "x"]
