import json

import pytest

from sweep_folder import (
    EXPERIMENTS,
    edit,
    edit_answers,
    everything,
    failed,
    folder_of,
    record,
    write_answers,
    write_run,
)
from thinwire.config.load import load_experiment
from thinwire.config.report_settings import ReportConfig
from thinwire.errors import UsageError
from thinwire.evaluation.extractors import ExtractorScore
from thinwire.reading import read_jsonl
from thinwire.report.analysis import analyse
from thinwire.report.analysis_record import Analysis, CodecSummary, WireSize
from thinwire.report.choice import choose_best
from thinwire.report.code_sizes import shown_metrics
from thinwire.report.series import collect
from thinwire.report.setting_differences import differing_settings
from thinwire.results.arm_record import CodecMetric, read_arm_record
from thinwire.results.read import read_results
from thinwire.results.search_record import ArmSearch, SearchRecord, write_search_record
from thinwire.stats.tiers import TIERS
from thinwire.stats.verdict import RUN_AGAIN


def analysis_of(run):
    return analyse(read_results(run))


def by_name(analysis):
    return {row.name: row for row in analysis.rows}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("analysis") / "run")
    results = read_results(run)
    return results, analyse(results)


def test_an_analysis_is_json_without_nan_and_is_read_back_as_it_was(finished):
    _, analysis = finished
    text = json.dumps(analysis.model_dump(mode="json"), allow_nan=False)
    assert Analysis.model_validate_json(text) == analysis


def test_arms_come_first_then_controls_then_what_failed(finished):
    names = ["baseline", "r4_a8_layers8", "r8_a8_layers12", "r16_a32_full"]
    assert list(by_name(finished[1])) == [*names, "text_lora", "text_zero_shot", "codec_only", "broken"]


def test_a_row_holds_its_records_numbers(finished):
    row = by_name(finished[1])["r16_a32_full"]
    expected = {"kind": "arm", "status": "done", "error": None, "best": True, "is_baseline": False, "input": "adapter"}
    expected |= {"rank": 16, "alpha": 32, "layers": "all", "num_layers": 30}  # the model's own number
    # 11/16, 10/16; the answer that runs on is not exact as it came, so 9/16
    expected |= {"score": 0.6875, "em": 0.625, "raw_em": 0.5625}
    expected |= {"cosine": 0.875, "cosine_at_start": 0.8125, "relative_mse": 0.25, "nearest_row_accuracy": 0.9375}
    expected |= {"n": 16, "num_seeds": 1, "selection_score": 0.59375}
    expected |= {"params": 5000, "adapter_params": 1000, "lora_params": 4000, "minutes": 1.5}  # 250 x rank 16; 90 s
    assert {key: getattr(row, key) for key in expected} == expected
    assert row.rare_cosine == pytest.approx(0.8125)  # of the bucket of 1 to 9 occurrences
    assert row.raw_score == pytest.approx((11 - 1 / 3) / 16)


def test_settings_of_lora_are_none_where_there_is_none(finished):
    rows = by_name(finished[1])
    keys = ("rank", "alpha", "layers", "num_layers")
    for name in ("baseline", "text_zero_shot", "codec_only"):
        assert [getattr(rows[name], key) for key in keys] == [None, None, None, 0]
    assert [getattr(rows["r4_a8_layers8"], key) for key in keys] == [4, 8, 8, 8]


# In which settings arms differ


def one_of(name, kind="arm", arm=None, **changes):
    """A record with these settings."""
    return record("baseline", config=changes).model_copy(update={"name": name, "arm": arm or name, "kind": kind})


def test_a_row_has_the_settings_in_which_the_arms_differ(finished):
    rows = by_name(finished[1])
    assert rows["baseline"].settings == {"lora.rank": 0}  # alpha and layers do nothing there
    assert rows["r8_a8_layers12"].settings == {"lora.rank": 8, "lora.alpha": 8, "lora.layers": 12}
    assert rows["r16_a32_full"].settings == {"lora.rank": 16, "lora.alpha": 32, "lora.layers": 30}  # the model's
    assert rows["text_lora"].settings == rows["r16_a32_full"].settings
    assert rows["broken"].settings == {"lora.rank": 2, "lora.alpha": 4, "lora.layers": 8}


def test_what_an_arms_other_settings_make_idle_is_no_difference():
    found = differing_settings(
        [
            one_of("a"),
            one_of("b", supervision={"k_tokens": 8}),
            one_of("c", supervision={"ce_weight": 0, "k_tokens": 2}, lora={"alpha": 64, "dropout": 0}),
            one_of("d", codec={"compress_dim": 100, "ratio": 2, "vq": {"steps": 7}, "autoencoder": {"steps": 7}}),
        ],
        num_layers=30,
    )
    assert found == [
        {"codec.compress_dim": None, "supervision.k_tokens": 4, "supervision.ce_weight": 0.01},
        {"codec.compress_dim": None, "supervision.k_tokens": 8, "supervision.ce_weight": 0.01},
        {"codec.compress_dim": None, "supervision.ce_weight": 0.0},
        {"codec.compress_dim": 100, "supervision.k_tokens": 4, "supervision.ce_weight": 0.01},
    ]


def test_the_form_of_answers_is_no_difference_where_no_answer_is_supervised():
    found = differing_settings(
        [
            one_of("a"),
            one_of("b", prompt={"answer_form": "bare"}),
            one_of("c", prompt={"answer_form": "bare"}, supervision={"ce_weight": 0, "first_token_ce_weight": 0.5}),
            one_of("d", prompt={"answer_form": "bare"}, supervision={"ce_weight": 0}),
            one_of("text", "control", input="text", prompt={"answer_form": "bare"}),
        ],
        num_layers=30,
    )
    assert [settings.get("prompt.answer_form") for settings in found] == ["auto", "bare", "bare", None, None]


def test_a_position_of_lora_has_no_effect_where_all_layers_are_adapted():
    arms = {
        "first": {"rank": 4, "layers": 10},
        "last": {"rank": 4, "layers": 10, "position": "last"},
        "all": {"rank": 4, "position": "middle"},
    }
    found = differing_settings([one_of(name, lora=lora) for name, lora in arms.items()], num_layers=30)
    assert found == [
        {"lora.layers": 10, "lora.position": "first"},
        {"lora.layers": 10, "lora.position": "last"},
        {"lora.layers": 30},
    ]


def test_lora_that_is_not_trained_has_no_learning_rate():
    fixed = {"rank": 4, "start_from": "runs/one/text_lora", "trained": False}
    records = [
        one_of("trained", lora={"rank": 4}, training={"lora_lr": 0.1}),
        one_of("slow", lora={"rank": 4}, training={"lora_lr": 0.01}),
        one_of("fixed", lora=fixed),
        one_of("reading", input="text", lora=fixed),
    ]
    shared = {"lora.start_from": "runs/one/text_lora", "lora.trained": False}
    assert differing_settings(records, num_layers=30) == [
        {"input": "adapter", "lora.start_from": None, "lora.trained": True, "training.lora_lr": 0.1},
        {"input": "adapter", "lora.start_from": None, "lora.trained": True, "training.lora_lr": 0.01},
        {"input": "adapter", **shared},
        {"input": "text", **shared},
    ]


def test_only_arms_say_which_settings_differ_and_controls_have_what_has_an_effect_on_them():
    records = [
        one_of("a"),
        one_of("b", codec={"ratio": 8}),
        one_of("c", lora={"rank": 4}),
        one_of("text", "control", input="text", prompt={"style": "plain"}),
        one_of("codes", "control", input="codec"),
    ]
    assert differing_settings(records, num_layers=30)[3:] == [
        {"lora.rank": 0},  # no codec is read
        {"codec.ratio": 4.0, "lora.rank": 0},
    ]


def test_a_seed_is_a_setting_of_an_arm_and_not_of_its_repetitions():
    arms = [one_of("a"), one_of("b", seed=1), one_of("a-seed2", arm="a", seed=2)]
    assert differing_settings(arms, num_layers=30) == [{"seed": 0}, {"seed": 1}, {}]
    assert differing_settings([arms[0], arms[2]], num_layers=30) == [{}, {}]


def test_settings_of_a_kind_of_codec_count_where_it_is_the_chosen_one():
    records = [
        one_of("a"),
        one_of("b", codec={"kind": "quantized_pca", "quantized_pca": {"bits": 4}}),
        one_of("c", codec={"kind": "quantized_pca", "quantized_pca": {"bits": 8}}),
        one_of("d", codec={"quantized_pca": {"bits": 16}}),
    ]
    assert differing_settings(records, num_layers=30) == [
        {"codec.kind": "pca"},
        {"codec.kind": "quantized_pca", "codec.quantized_pca.bits": 4},
        {"codec.kind": "quantized_pca", "codec.quantized_pca.bits": 8},
        {"codec.kind": "pca"},
    ]


def test_lists_of_modules_are_told_apart():
    lists = [{"rank": 2, "targets": ["q_proj"]}, {"rank": 2, "targets": ["q_proj", "k_proj"]}, {"rank": 2}]
    arms = [one_of(name, lora=lora) for name, lora in zip("abc", lists, strict=True)]
    found = differing_settings(arms, num_layers=30)
    assert [one["lora.targets"] for one in found] == ["q_proj", "q_proj, k_proj", "attention"]


def test_differences_are_to_the_baseline_and_controls_have_none(finished):
    rows = by_name(finished[1])
    estimates = {name: row.score_difference and row.score_difference.estimate for name, row in rows.items()}
    # 6.5/16, 14/16 and 11/16 less the baseline's 6/16
    gains = {"r4_a8_layers8": 0.03125, "r8_a8_layers12": 0.5, "r16_a32_full": 0.3125}
    assert estimates == {**dict.fromkeys(rows), **gains}
    assert rows["r16_a32_full"].em_difference.estimate == 0.375  # 10/16 - 4/16
    for name in gains:
        found = rows[name].score_difference
        assert found.low < found.estimate < found.high
        assert 0 < found.p_adjusted <= 1
    assert rows["r16_a32_full"].score_difference.reason is None
    bound = "only 1 of 8 paragraphs differ: the interval is a bound"  # one more half, in one paragraph
    assert rows["r4_a8_layers8"].score_difference.reason == bound


def test_tiers_follow_the_thresholds_of_the_sweep(finished, tmp_path):
    rows = by_name(finished[1])
    assert finished[1].thresholds == {"marginal": 0.02, "significant": 0.05, "strong": 0.10}
    assert [rows[n].observed_tier for n in ("r4_a8_layers8", "r16_a32_full")] == ["marginal", "strong"]
    assert rows["r4_a8_layers8"].supported_tier == "unresolved"
    assert rows["r4_a8_layers8"].questions_needed is None
    assert rows["r4_a8_layers8"].questions_obstacle == "the results so far do not say how many questions would do"
    assert rows["r16_a32_full"].supported_tier == "significant"
    assert 0.05 <= rows["r16_a32_full"].score_difference.low < 0.10
    assert (rows["r16_a32_full"].questions_needed, rows["r16_a32_full"].questions_obstacle) == (None, None)
    run = write_run(tmp_path / "run")
    edit(run / "sweep.json", lambda sweep: sweep["verdict"].update(marginal=4, significant=35, strong=60))
    changed = by_name(analysis_of(run))
    assert [changed[n].observed_tier for n in ("r4_a8_layers8", "r16_a32_full")] == ["no help", "marginal"]


def test_a_gain_in_every_paragraph_alike_has_a_bound_and_says_why(tmp_path):
    # Against RH in each of 8 paragraphs, RR is half a question in two more in each: 0.25 everywhere.
    answers = {"baseline": "RH" * 8, "r16_a32_full": "RR" * 8}
    run = write_run(tmp_path / "run", [record("baseline"), record("r16_a32_full")], answers)
    found = by_name(analysis_of(run))["r16_a32_full"].score_difference
    assert found.low < found.estimate == 0.25 < found.high
    assert found.reason == "same difference in all 8 paragraphs: the interval is a bound"


def test_the_share_of_the_ceiling_is_between_the_codec_and_the_text_with_lora(finished):
    rows = by_name(finished[1])
    # (11 - 2) / (15.5 - 2) and (6 - 2) / (15.5 - 2), in sixteenths
    assert rows["r16_a32_full"].share_of_ceiling.estimate == pytest.approx(9 / 13.5)
    assert rows["baseline"].share_of_ceiling.estimate == pytest.approx(4 / 13.5)
    assert [rows[name].share_of_ceiling for name in ("text_lora", "codec_only")] == [None, None]


def test_extractors_are_scored_on_raw_answers(finished):
    found = by_name(finished[1])["r16_a32_full"].extractors
    assert found["raw"].f1 == pytest.approx((11 - 1 / 3) / 16)
    assert found["first_line"] == ExtractorScore(exact_match=0.625, f1=0.6875, changed_share=0.0)
    # One word of two is an F1 of 2/3: 12 x 2/3 / 16, the right and the half right.
    assert found["first_1_words"].f1 == pytest.approx(12 * 2 / 3 / 16)


def test_varied_short_answers_are_healthy_and_one_answer_to_everything_is_collapsed(finished, tmp_path):
    assert {row.degeneration.finding for row in finished[1].rows if row.degeneration} == {"healthy"}
    run = write_run(tmp_path / "run")
    edit_answers(run / "r4_a8_layers8", lambda row: {**row, "raw_text": "The mill", "text": "The mill"})
    found = by_name(analysis_of(run))["r4_a8_layers8"].degeneration
    assert found.finding == "collapsed"
    assert found.metrics.distinct_share == 1 / 16
    assert "distinct 6.2% (limit 70.0%)" in found.reasons  # 0.7 of the gold answers' 100 %
    assert [one.id for one in found.examples] == ["q00", "q01", "q02", "q03", "q04"]


def test_a_failure_has_its_reason_and_no_figures(finished):
    row = by_name(finished[1])["broken"]
    said = {"kind": "arm", "status": "failed", "error": "ValueError: loss is nan", "best": False, "minutes": 0.1}
    assert {key: getattr(row, key) for key in said} == said
    measured = (
        "score",
        "em",
        "n",
        "selection_score",
        "cosine",
        "params",
        "score_difference",
        "supported_tier",
        "degeneration",
    )
    assert {getattr(row, key) for key in measured} == {None}


# The choice and the verdict


def test_the_selection_split_chooses_and_never_the_test_split(finished):
    results, analysis = finished
    assert choose_best(results) == analysis.verdict.best == "r16_a32_full"
    assert max(analysis.rows[:4], key=lambda row: row.score).name == "r8_a8_layers12"
    assert [row.name for row in analysis.rows if row.best] == ["r16_a32_full"]


def test_of_equal_arms_the_first_is_chosen(tmp_path):
    records = [record(name, selection=0.5) for name in ("baseline", "r8_a8_layers12", "r4_a8_layers8")]
    assert choose_best(read_results(write_run(tmp_path / "run", records))) == "baseline"


def test_the_verdict_is_that_of_the_chosen_arm(finished):
    verdict, row = finished[1].verdict, by_name(finished[1])["r16_a32_full"]
    assert (verdict.judged_by, verdict.helped) == ("r16_a32_full", True)
    assert (verdict.tier, verdict.supported_tier) == (row.observed_tier, row.supported_tier)
    unmeasured = "gain on uncompressed input not measured"
    found = "LoRA gains: at least significant, the estimate is strong"
    assert verdict.headline == f"{found}; {unmeasured} (1 of 5 arms has no result; one seed)"
    assert verdict.sentence.endswith("LoRA's gain on uncompressed input was not measured.")
    low, high = (f"{100 * end:+.1f}" for end in (row.score_difference.low, row.score_difference.high))
    assert f"r16_a32_full gains +31.2 F1 points over the baseline (95% interval over all arms {low} to {high}, " in (
        verdict.sentence
    )
    assert verdict.next_steps[-1] == "Update REPORT.md with this finding"
    assert verdict.uncertainty_covers == "questions"
    assert verdict.baseline_check.startswith("baseline F1 37.5, text zero-shot 62.5")


def test_where_the_baseline_is_chosen_the_best_of_the_others_judges_and_the_headline_says_so(tmp_path):
    records = [record("baseline", selection=0.9), record("r4_a8_layers8"), record("r16_a32_full")]
    verdict = analysis_of(write_run(tmp_path / "run", records)).verdict
    assert (verdict.best, verdict.judged_by) == ("baseline", "r16_a32_full")
    assert verdict.headline.startswith("LoRA gains: strong")
    assert verdict.headline.endswith(" (the selection split chose the baseline itself; one seed)")
    verdict = analysis_of(write_run(tmp_path / "failed", [*records, failed("broken")])).verdict
    ending = " (1 of 4 arms has no result; the selection split chose the baseline itself; one seed)"
    assert verdict.headline.endswith(ending)


def test_the_seed_of_a_repeated_arm_is_no_difference_that_a_verdict_is_about(tmp_path):
    # Its first seed failed.
    records = [record("baseline"), record("r16_a32_full-seed1", arm="r16_a32_full", config={"seed": 1})]
    assert analysis_of(write_run(tmp_path / "run", records)).verdict.about_lora is True


@pytest.mark.parametrize(
    ("group", "changes", "headline"),
    [
        ("lora", {"dropout": 0.25}, "LoRA gains: strong"),  # what a baseline without LoRA would have had
        ("training", {"lora_lr": 0.003}, "LoRA gains: strong"),  # of no use to a baseline without LoRA
        ("training", {"adapter_lr": 0.003}, "Better than the baseline: strong (one seed)"),
        ("adapter", {"hidden": 9216}, "Better than the baseline: strong (one seed)"),
        ("supervision", {"k_tokens": 8}, "Better than the baseline: strong (one seed)"),
    ],
)
def test_the_verdict_is_about_lora_only_where_nothing_else_tells_the_arm_from_the_baseline(
    tmp_path, group, changes, headline
):
    records = [record("baseline"), record("r16_a32_full", config={group: changes})]
    verdict = analysis_of(write_run(tmp_path / "run", records)).verdict
    assert verdict.headline.split(";")[0] == headline
    assert verdict.about_lora is headline.startswith("LoRA")


@pytest.mark.parametrize(
    ("records", "headline", "supported"),
    [
        (
            [failed("baseline"), record("r16_a32_full")],
            "Not resolved: the baseline has no result (1 of 2 arms has no result)",
            "unresolved",
        ),
        ([record("baseline")], "Nothing to compare", None),
    ],
)
def test_without_two_sides_nothing_is_compared_and_nothing_is_claimed(tmp_path, records, headline, supported):
    analysis = analysis_of(write_run(tmp_path / "run", records))
    verdict = analysis.verdict
    assert (verdict.headline, verdict.supported_tier) == (headline, supported)
    assert [getattr(verdict, key) for key in ("tier", "helped", "uncertainty_covers")] == [None] * 3
    assert verdict.next_steps == ((RUN_AGAIN,) if supported else ())
    assert {row.score_difference for row in analysis.rows} == {None}


@pytest.mark.parametrize(("num_failed", "resolved"), [(0, True), (1, True), (2, True), (3, False), (8, False)])
def test_a_verdict_needs_half_of_the_arms_and_counts_those_without_a_result(tmp_path, num_failed, resolved):
    records = [record("baseline"), record("r16_a32_full"), *(failed(f"r{number}") for number in range(num_failed))]
    verdict = analysis_of(write_run(tmp_path / "run", records)).verdict
    counted = f"{num_failed} of {2 + num_failed} arms {'has' if num_failed == 1 else 'have'} no result"
    assert (counted in verdict.headline) is (num_failed > 0)
    assert verdict.headline.startswith("LoRA gains: strong" if resolved else f"Not resolved: {counted}")
    assert (verdict.supported_tier, verdict.helped) == (("strong", True) if resolved else ("unresolved", False))
    assert (verdict.next_steps == (RUN_AGAIN,)) is not resolved


def test_seeds_without_a_result_are_counted_as_trainings(tmp_path):
    records = [record("baseline"), record("r16_a32_full"), failed("r16_a32_full-seed1", arm="r16_a32_full")]
    headline = analysis_of(write_run(tmp_path / "run", records)).verdict.headline
    assert headline.endswith(" (1 of 3 trainings of arms has no result; one seed)")


def test_searched_settings_are_no_difference_between_arms_and_edges_are_noted(tmp_path):
    rates = {"adapter_lr": 0.0003, "lora_lr": 0.003}
    records = [record("baseline"), record("r16_a32_full", config={"training": rates})]
    run = write_run(tmp_path / "run", records)
    assert analysis_of(run).verdict.about_lora is False
    chosen = {f"training.{name}": value for name, value in rates.items()}
    search = ArmSearch(config_hash="h", candidates=(), chosen=chosen, edges=("training.lora_lr",))
    write_search_record(run, SearchRecord(arms={"r16_a32_full": search}))
    analysis = analysis_of(run)
    assert analysis.verdict.about_lora is True
    settings = {"lora.rank": 16, "lora.alpha": 32, "lora.layers": 30}
    assert by_name(analysis)["r16_a32_full"].settings.items() <= settings.items()
    searched = "training.adapter_lr, training.lora_lr"
    assert analysis.notes[-2:] == (
        f"each arm has its own best values, by the selection split, of {searched}",
        "the best value found is the smallest or largest tried, so a better one may lie beyond (r16_a32_full: "
        "training.lora_lr)",
    )


# What the experiment says of its reports


def with_report(run, **settings):
    """The analysis of a sweep whose experiment says this of its reports, and nothing else."""
    edit(run / "sweep.json", lambda sweep: sweep.update(report=ReportConfig(**settings).model_dump(mode="json")))
    return analysis_of(run)


def test_an_experiment_that_extends_the_plans_inherits_its_words_and_another_has_none():
    plan, full, gap = (
        load_experiment(EXPERIMENTS / f"{name}.yaml").report for name in ("phase1a_lora", "full", "archive/gap")
    )
    assert full == plan
    assert list(plan.next_steps) == list(TIERS)
    assert gap == ReportConfig()
    with pytest.raises(UsageError, match=r"report\.next_steps\.small: Input should be 'no help', 'marginal'"):
        load_experiment(EXPERIMENTS / "archive" / "gap.yaml", ["report.next_steps.small=[Stop]"])


def test_heading_motivation_and_next_steps_are_the_experiments_own(finished, tmp_path):
    sweep, verdict = finished[1].sweep, finished[1].verdict
    assert sweep.heading == "2.9 Hypothesis 9: LoRA with Minimal Supervision"
    assert sweep.motivation.startswith("Phase 1a (pure reconstruction) achieved 24% F1.")
    assert verdict.next_steps[0] == "Add LoRA configuration to Phase 0 post-processing pipeline"
    found = with_report(write_run(tmp_path / "run"), heading="Mine", next_steps={"significant": ["Rest", "Rejoice"]})
    assert (found.sweep.heading, found.sweep.motivation) == ("Mine", None)
    assert found.verdict.next_steps == ("Rest", "Rejoice")


def test_an_experiment_that_says_nothing_has_no_next_steps_and_the_same_verdict(finished, tmp_path):
    found = with_report(write_run(tmp_path / "run"))
    assert (found.sweep.heading, found.sweep.motivation) == (None, None)
    assert (found.verdict.next_steps, found.verdict.next_steps_if_confirmed) == ((), ())
    assert found.verdict.baseline_check == "baseline F1 37.5, text zero-shot 62.5"
    assert (found.verdict.headline, found.verdict.sentence) == (
        *(finished[1].verdict.headline, finished[1].verdict.sentence),
    )


@pytest.mark.parametrize(
    ("model", "f1", "said"),
    [
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", 37.5, "matches the expected 38 (within 2 points)"),
        ("meta-llama/Llama-3.1-8B", 39.5, "matches the expected 40 (within 2 points)"),
        ("/models/llama-3.1-8b-instruct", 24, "does not match the expected 24 (within 2 points)"),
    ],
)
def test_the_expected_baseline_is_checked_for_its_own_model(tmp_path, model, f1, said):
    run = write_run(tmp_path / "run")
    edit(run / "sweep.json", lambda sweep: sweep["model"].update(name=model))
    found = with_report(run, expected_baseline={"model": "Llama-3.1-8B", "f1": f1})
    assert found.verdict.baseline_check == f"baseline F1 37.5 {said}"


def test_for_another_model_the_text_control_takes_the_place_of_the_expected_baseline(tmp_path):
    expected = {"model": "Llama-3.1-8B", "f1": 24}
    found = with_report(write_run(tmp_path / "run"), expected_baseline=expected)
    said = "baseline F1 37.5, text zero-shot 62.5; the expected 24 is for Llama-3.1-8B"
    assert found.verdict.baseline_check == said
    alone = with_report(write_run(tmp_path / "alone", [record("baseline")]), expected_baseline=expected)
    said = "baseline F1 37.5; the expected 24 is for Llama-3.1-8B, and there is no text control to compare with"
    assert alone.verdict.baseline_check == said
    assert with_report(tmp_path / "alone").verdict.baseline_check == "baseline F1 37.5"


# Several seeds


def with_seeds(run, *, baseline=1):
    """The chosen arm a second time: RRRR and nothing, 4/16 = 0.25; its mean with 11/16 is 7.5/16."""
    extra = record("r16_a32_full-seed1", arm="r16_a32_full", answers="RRRR" + "W" * 12, selection=0.25)
    records = [record("baseline"), record("r4_a8_layers8"), record("r16_a32_full"), extra]
    answers = {"r16_a32_full-seed1": "RRRR" + "W" * 12}
    if baseline == 2:
        again = "RHWWRHWWRHWWWWWW"  # 4.5/16; the mean with 6/16 is 5.25/16
        records.insert(1, record("baseline-seed1", arm="baseline", answers=again, selection=0.375))
        answers["baseline-seed1"] = again
    return write_run(run, records, answers)


def test_seeds_are_one_row_of_means_and_the_minutes_of_all(tmp_path):
    analysis = analysis_of(with_seeds(tmp_path / "run", baseline=2))
    assert [row.name for row in analysis.rows] == ["baseline", "r4_a8_layers8", "r16_a32_full"]
    row = by_name(analysis)["r16_a32_full"]
    assert (row.num_seeds, row.score, row.em) == (2, 7.5 / 16, 7 / 16)  # (11 + 4) / 2 and (10 + 4) / 2
    assert (row.selection_score, row.minutes) == ((0.59375 + 0.25) / 2, 3.0)
    assert row.score_difference.estimate == pytest.approx((7.5 - 5.25) / 16)


def test_the_choice_is_by_the_mean_over_seeds(tmp_path):
    # (0.59375 + 0.25) / 2 = 0.421875 is still above 0.40625 and 0.375; with 0.125 it is 0.359375.
    run = with_seeds(tmp_path / "run")
    assert choose_best(read_results(run)) == "r16_a32_full"
    edit(run / "r16_a32_full-seed1" / "record.json", lambda record: record["results"]["selection"].update(score=0.125))
    assert choose_best(read_results(run)) == "r4_a8_layers8"


def test_what_the_intervals_cover_is_said(tmp_path):
    verdict = analysis_of(with_seeds(tmp_path / "run", baseline=2)).verdict
    assert verdict.uncertainty_covers == "questions and seeds"


def test_scores_of_extractors_are_means_over_seeds_as_f1_is(tmp_path):
    row = by_name(analysis_of(with_seeds(tmp_path / "run", baseline=2)))["r16_a32_full"]
    assert row.extractors["first_line"].f1 == row.score == 7.5 / 16
    assert row.extractors["first_line"].exact_match == row.em == 7 / 16
    assert row.extractors["raw"].f1 == pytest.approx(row.raw_score)


def test_degeneration_is_of_the_first_seed_that_is_done_and_says_which(tmp_path):
    again = record("r16_a32_full-seed1", arm="r16_a32_full", config={"seed": 1})
    analysis = analysis_of(write_run(tmp_path / "run", [record("baseline"), again]))
    assert [row.degeneration.seed for row in analysis.rows] == [0, 1]


def test_controls_with_several_seeds_are_one_row_of_means(tmp_path):
    again = record("text_lora-seed1", arm="text_lora", answers="R" * 16, selection=0.5)
    records = [record("baseline"), record("r16_a32_full"), record("text_lora"), again]
    analysis = analysis_of(write_run(tmp_path / "run", records, {"text_lora-seed1": "R" * 16}))
    row = by_name(analysis)["text_lora"]
    assert (row.kind, row.num_seeds, row.score, row.minutes) == ("control", 2, (15.5 + 16) / 2 / 16, 3.0)
    assert row.selection_score == (0.9375 + 0.5) / 2
    assert "text_lora-seed1" not in by_name(analysis)


# Bytes, notes, series


def test_bytes_are_counted_from_shapes(finished):
    found = finished[1].bytes
    assert found.matrix_bytes_original == 49152 * 576 * 2
    assert found.matrix_bytes_codes == 49152 * 144 * 2
    assert found.matrix_bytes_adapter == 1000 * 4
    assert found.matrix_bytes_codec == 83520 * 4
    bits = {one.form: (one.bits, one.larger_than_id) for one in found.wire_bits}
    # 2^15 < 49152 <= 2^16, so an id takes 16 bits.
    assert bits == {
        "float32 code": (4608, True),
        "bf16 code": (2304, True),
        "int8 code": (1152, True),
        "int4 code": (576, True),
        "token id": (16, False),
        "UTF-8 text": (34.5, True),
    }


def test_each_row_has_the_bytes_that_stand_in_for_the_table(finished):
    rows, codes, codec = by_name(finished[1]), 49152 * 144 * 2, 83520 * 4
    assert rows["baseline"].matrix_bytes == rows["r16_a32_full"].matrix_bytes == codes + 1000 * 4 + codec
    assert rows["codec_only"].matrix_bytes == codes + codec  # no adapter
    assert [rows[name].matrix_bytes for name in ("text_lora", "text_zero_shot", "broken")] == [None] * 3
    assert finished[1].bytes.matrix_bytes_total == rows["baseline"].matrix_bytes


def test_each_row_has_the_bits_that_its_code_takes(tmp_path):
    run = write_run(tmp_path / "run")
    changes = {"code_width": 3, "code_bits": 27}
    edit(run / "r16_a32_full" / "record.json", lambda record: record["results"]["codec"].update(changes))
    rows = by_name(analysis_of(run))
    # Integers as they are packed; 144 floats at the model's own 2 bytes.
    found = {name: rows[name].code_bits for name in ("r16_a32_full", "baseline", "codec_only")}
    assert found == {"r16_a32_full": 27, "baseline": 144 * 2 * 8, "codec_only": 144 * 2 * 8}
    assert [rows[name].code_bits for name in ("text_lora", "text_zero_shot", "broken")] == [None] * 3


def test_bytes_are_those_of_the_best_arms_codec(tmp_path):
    run = write_run(tmp_path / "run")
    edit(run / "r16_a32_full" / "record.json", lambda record: record["results"]["codec"].update(code_width=288))
    assert analysis_of(run).bytes.code_width == 288


def test_packed_integer_codes_are_counted_at_the_bits_they_need(tmp_path):
    run = write_run(tmp_path / "run")
    changes = {"code_width": 3, "code_bits": 27, "num_bytes": 1000}
    edit(run / "r16_a32_full" / "record.json", lambda record: record["results"]["codec"].update(changes))
    found = analysis_of(run).bytes
    assert found.matrix_bytes_original == 49152 * 576 * 2
    assert found.matrix_bytes_codes == 49152 * 27 / 8
    assert found.matrix_bytes_codec == 1000
    bits = {one.form: (one.bits, one.larger_than_id) for one in found.wire_bits}
    assert bits == {"code, 3 x 9 bits": (27, True), "token id": (16, False), "UTF-8 text": (34.5, True)}


def test_a_code_may_be_smaller_than_a_token_id(tmp_path):
    run = write_run(tmp_path / "run")
    changes = {"code_width": 1, "code_bits": 9, "num_bytes": 1000}
    edit(run / "r16_a32_full" / "record.json", lambda record: record["results"]["codec"].update(changes))
    assert analysis_of(run).bytes.wire_bits[0] == WireSize(form="code, 1 x 9 bits", bits=9, larger_than_id=False)


USE = CodecMetric(name="codebook_use", label="entries in use", value=0.75)
PERPLEXITY = CodecMetric(name="perplexity", label="perplexity", value=60.0, unit="entries")
KEPT = CodecMetric(name="explained_variance", label="variance kept", value=0.75)


def test_each_codec_is_there_once_with_who_uses_it_and_what_is_wrong_with_it(tmp_path):
    warnings = ("codebook 2 is idle",)
    vq = {"label": "vq, residual", "code_width": 3, "code_bits": 27, "metrics": (USE, PERPLEXITY), "warnings": warnings}
    changed = {name: record(name, codec=vq) for name in ("r4_a8_layers8", "r16_a32_full")}
    # An arm that does without the codec's own decoder keeps less of it.
    changed["codec_only"] = record("codec_only", codec={"num_bytes": 1_000_000})
    analysis = analysis_of(write_run(tmp_path / "run", [changed.get(one.name, one) for one in everything()]))
    others, residual = analysis.codecs
    assert others.arms == ("baseline", "r8_a8_layers12", "codec_only")
    assert (others.label, others.metrics, others.warnings) == ("PCA", (), ())
    assert residual == CodecSummary(arms=("r4_a8_layers8", "r16_a32_full"), **vq)
    assert (others.code_size, residual.code_size) == ("144 floats", "3 x 9 bits")
    assert analysis.warnings == ["codec vq, residual of r4_a8_layers8, r16_a32_full: codebook 2 is idle"]
    assert analysis.notes[-1] == analysis.warnings[0]


def test_of_the_metrics_of_codecs_each_that_some_codec_has_is_shown_once():
    def codec(*metrics):
        return CodecSummary(arms=("a",), label="pca", code_width=4, code_bits=None, metrics=metrics, warnings=())

    other = KEPT.model_copy(update={"value": 0.5})
    assert shown_metrics([codec(KEPT), codec(USE, PERPLEXITY), codec(other)]) == [KEPT, USE, PERPLEXITY]
    assert shown_metrics([codec()]) == []


def test_controls_that_were_not_run_are_noted_and_what_needs_them_is_left_out(tmp_path):
    records = [one for one in everything() if one.name not in ("text_lora", "codec_only")]
    analysis = analysis_of(write_run(tmp_path / "run", records))
    assert "controls not run: text_lora, codec_only; what needs them is left out" in analysis.notes
    assert {row.share_of_ceiling for row in analysis.rows} == {None}


def test_the_series_are_the_diagnostics_and_the_predictions(finished):
    results, analysis = finished
    found = collect(results, analysis)
    assert list(found["training"]) == ["baseline", "r4_a8_layers8", "r8_a8_layers12", "r16_a32_full"]
    curves = found["training"]["r16_a32_full"]
    assert (curves["step"], curves["loss"], curves["ce"]) == ([1, 2, 3], [1, 1 / 2, 1 / 3], [4, 2, 4 / 3])
    assert curves["grad_norm_lora"] == [0.125, 0.25, 0.375]
    assert found["training"]["baseline"]["grad_norm_lora"] == [None] * 3
    # The adapter starts at 0.7 plus a tenth of the share; the codec's own is 0.8 plus a tenth.
    assert [(b["bucket"], b["share_of_tokens"]) for b in found["frequency"]] == [
        ("1-9", 0.125),
        ("10-99", 0.25),
        ("100+", 0.625),
    ]
    assert [b["start_cosine"] for b in found["frequency"]] == pytest.approx([0.7125, 0.725, 0.7625])
    assert [b["linear_cosine"] for b in found["frequency"]] == pytest.approx([0.8125, 0.825, 0.8625])
    second = found["questions"][1]  # H, R, R
    assert second["golds"] == ["red1 mill1"]
    assert second["baseline"] == {"text": "red1 barn1", "score": 0.5}
    assert second["best"] == {"text": "red1 mill1", "score": 1.0}
    assert second["text_control"] == {"text": "red1 mill1", "score": 1.0}


def test_answers_are_paired_by_id_and_not_by_place(tmp_path):
    run = write_run(tmp_path / "run")
    before = analysis_of(run)
    for one in everything():
        if one.name in ("baseline", "text_zero_shot"):
            folder = folder_of(run, one)
            write_answers(folder, read_arm_record(folder), read_jsonl(folder / "predictions.jsonl")[::-1])
    results = read_results(run)
    after = analyse(results)
    assert after.rows[3].score_difference == before.rows[3].score_difference
    assert collect(results, after)["questions"][1]["baseline"] == {"text": "red1 barn1", "score": 0.5}
