import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from thinwire.codecs.settings import CodecConfig
from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.config.load import load_experiment
from thinwire.errors import UsageError
from thinwire.schema import build

PLAN = Path(__file__).parents[2] / "experiments" / "phase1a_lora.yaml"

# The plan's eleven configurations (docs/plan.md): rank, alpha, layers.
PLANNED = {
    (0, None, None),
    (4, 8, 8),
    (4, 16, 8),
    (8, 8, 12),
    (8, 16, 12),
    (8, 32, 12),
    (16, 16, 16),
    (16, 32, 16),
    (8, 16, "all"),
    (16, 32, "all"),
    (32, 32, 16),
}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def minimal(**settings_) -> Experiment:
    return build(Experiment, {"name": "test", "arms": {"baseline": {}}, **settings_}, where="")


def read(settings_: object, path: str) -> object:
    for part in path.split("."):
        settings_ = getattr(settings_, part)
    return settings_


def test_the_plan_resolves_to_exactly_its_eleven_configurations():
    plan = load_experiment(PLAN)
    loras = [plan.arm(name).lora for name in plan.arms]
    assert len(loras) == 11
    assert {(x.rank, x.alpha, x.layers) if x.rank else (0, None, None) for x in loras} == PLANNED
    assert plan.arm(plan.baseline).lora.rank == 0


@pytest.mark.parametrize("name", list(load_experiment(PLAN).arms))
def test_every_arm_of_the_plan_has_the_plans_training_and_supervision(name):
    arm = load_experiment(PLAN).arm(name)
    assert (arm.supervision.ce_weight, arm.supervision.kd_weight, arm.supervision.k_tokens) == (0.01, 0.0, 4)
    assert (arm.training.batch_size, arm.training.epochs) == (32, 3)
    assert (arm.input, arm.context) == ("adapter", True)


def test_the_plan_has_its_sample_count_name_and_model_by_default():
    plan = load_experiment(PLAN)
    assert (plan.data.samples, plan.data.train, plan.name) == (5000, "squad", "phase1a_lora_sweep")


def test_arms_of_the_plan_differ_in_lora_alone():
    plan = load_experiment(PLAN)
    assert len({plan.arm(name).model_copy(update={"lora": None}) for name in plan.arms}) == 1


def test_lora_is_off_unless_a_rank_is_given():
    assert ArmConfig().lora.rank == 0


@pytest.mark.parametrize(
    ("changes", "trains"),
    [
        ({}, True),
        ({"training": {"epochs": 0}}, False),
        ({"input": "text"}, False),
        ({"input": "codec"}, False),
        ({"input": "codec", "lora": {"rank": 2}}, True),
        ({"input": "text", "lora": {"rank": 2}, "training": {"epochs": 0}}, False),
    ],
)
def test_an_arm_is_trainable_if_an_adapter_or_lora_learns(changes, trains):
    assert minimal(arms={"baseline": {}, "x": changes}).arm("x").has_trainable is trains


@pytest.mark.parametrize(
    ("changes", "learns"),
    [
        ({"input": "blocks"}, True),
        ({"input": "blocks", "blocks": {"encoder": "mean"}}, False),
        ({"input": "blocks", "blocks": {"encoder": "mean"}, "lora": {"rank": 2}}, True),
        ({"input": "blocks", "blocks": {"reconstruction": {"passages": 0}}}, False),
        ({"input": "text", "lora": {"rank": 2}}, False),
    ],
)
def test_without_epochs_an_arm_learns_if_it_learns_from_texts(changes, learns):
    arms = {"baseline": {}, "x": {**changes, "training": {"epochs": 0}}}
    arm = minimal(arms=arms).arm("x")
    assert (arm.learns, arm.reconstructs_text, arm.has_trainable) == (learns, learns, False)


@pytest.mark.parametrize(
    ("override", "path", "nearest"),
    [
        ("baselin=x", "baselin", "baseline"),
        ("trainin.epochs=1", "trainin", "training"),
        ("training.epoch=1", "training.epoch", "epochs"),
        ("model.dtyp=float32", "model.dtyp", "dtype"),
        ("arms.baseline.lorra.rank=1", "arms.baseline.lorra", "lora"),
        ("arms.baseline.lora.rnk=1", "arms.baseline.lora.rnk", "rank"),
        ("controls.text_lora.lora.alph=1", "controls.text_lora.lora.alph", "alpha"),
    ],
)
def test_an_unknown_setting_is_refused_at_any_depth_and_the_nearest_is_named(override, path, nearest):
    with pytest.raises(UsageError) as caught:
        load_experiment(PLAN, [override])
    assert f"unknown setting '{path}' (did you mean '{nearest}'?)" in str(caught.value)


def test_an_unknown_setting_unlike_any_other_lists_what_is_valid_here():
    with pytest.raises(
        UsageError, match=r"unknown setting 'lora.zzz'; valid here: rank, alpha, layers, position, dropout"
    ):
        minimal(lora={"zzz": 1})


@pytest.mark.parametrize("shared", ["data", "model", "name", "arms"])
def test_an_arm_cannot_change_what_all_arms_share(shared):
    with pytest.raises(UsageError, match=f"'arms.x.{shared}' belongs to the whole experiment"):
        minimal(arms={"x": {shared: {}}})


@pytest.mark.parametrize("text", ["lora", "", "=3", " =3"])
def test_an_override_without_a_key_and_a_value_is_refused(text):
    with pytest.raises(UsageError, match=r"--set takes path\.to\.key=value, got"):
        load_experiment(PLAN, [text])


def test_an_override_that_is_not_yaml_is_refused_by_its_path():
    with pytest.raises(UsageError, match=r"--set data\.samples: '\[1' is no YAML value"):
        load_experiment(PLAN, ["data.samples=[1"])


def test_an_override_below_a_single_value_is_refused():
    with pytest.raises(UsageError, match=r"data\.samples\.x cannot be set: data\.samples is a single value"):
        load_experiment(PLAN, ["data.samples.x=3"])


def test_an_override_of_a_whole_group_by_a_value_is_refused():
    with pytest.raises(UsageError, match=r"lora is a group of settings, got 4; set lora\.<key> instead"):
        load_experiment(PLAN, ["lora=4"])


def test_the_last_of_two_overrides_wins():
    assert load_experiment(PLAN, ["seed=1", "seed=2"]).seed == 2


def test_an_override_keeps_everything_after_the_first_equals_sign():
    assert load_experiment(PLAN, ["description=a=b"]).description == "a=b"


def test_an_override_can_reach_one_arm_alone():
    plan = load_experiment(PLAN, ["arms.r4_a8_layers8.lora.dropout=0.5"])
    assert plan.arm("r4_a8_layers8").lora.dropout == 0.5
    assert plan.arm("r4_a8_layers8").lora.rank == 4
    assert plan.arm("r4_a16_layers8").lora.dropout == 0.05


def test_an_override_of_a_default_reaches_every_arm_that_does_not_change_it():
    plan = load_experiment(PLAN, ["lora.alpha=3", "training.epochs=1"])
    assert plan.arm("baseline").lora.alpha == 3
    assert plan.arm("r4_a8_layers8").lora.alpha == 8
    assert {plan.arm(name).training.epochs for name in plan.arms} == {1}


def test_an_arm_merges_into_the_defaults_key_by_key():
    arm = minimal(lora={"alpha": 5, "dropout": 0.2}, seed=7, arms={"baseline": {}, "x": {"lora": {"rank": 3}}}).arm("x")
    assert (arm.lora.rank, arm.lora.alpha, arm.lora.dropout, arm.seed) == (3, 5, 0.2, 7)


def test_an_empty_arm_is_the_defaults(tmp_path):
    experiment = load_experiment(write(tmp_path / "e.yaml", "name: e\nseed: 4\narms:\n  baseline:\n"))
    assert experiment.arm("baseline") == ArmConfig(seed=4)


def test_an_unknown_arm_is_refused_and_the_nearest_named():
    with pytest.raises(UsageError, match=r"no arm or control called 'basline' \(did you mean 'baseline'\?\)"):
        minimal().arm("basline")


def test_settings_cannot_be_changed_once_made():
    experiment = minimal()
    with pytest.raises(ValidationError, match="frozen"):
        experiment.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        experiment.arm("baseline").lora.rank = 4


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("supervision.ce_weight=-0.1", "supervision.ce_weight: .*greater than or equal to 0, got -0.1"),
        ("supervision.k_tokens=0", "supervision.k_tokens: .*greater than 0, got 0"),
        ("supervision.ce_weight=.nan", "supervision.ce_weight: .*got nan"),
        ("reconstruction.uniform_share=1.1", "reconstruction.uniform_share: .*less than or equal to 1"),
        ("lora.rank=-1", "lora.rank: .*got -1"),
        ("lora.dropout=1", "lora.dropout: .*less than 1, got 1"),
        ("codec.ratio=0.5", "codec.ratio: .*greater than or equal to 1, got 0.5"),
        ("prompt.style=chatty", "prompt.style: .*'auto', 'chat' or 'plain', got 'chatty'"),
        ("seed=1.5", "seed: .*got 1.5"),
        ("arms.baseline.lora.rank=-2", r"arms\.baseline\.lora\.rank: .*got -2"),
        ("lora.layers=some", r"lora\.layers: .*got 'some'"),
        ("group_size=0", "group_size: .*greater than 0 or 'auto', got 0"),
        ("group_size=many", "group_size: .*got 'many'"),
        ("model.compile=sometimes", r"model\.compile: .*got 'sometimes'"),
        ("training.share_prefixes=2", r"training\.share_prefixes: .*got 2"),
    ],
)
def test_a_value_out_of_range_is_refused_by_path_and_value(override, complaint):
    with pytest.raises(UsageError, match=complaint):
        load_experiment(PLAN, [override])


@pytest.mark.parametrize("path", ["training.adapter_lr", "supervision.ce_weight", "codec.ratio", "lora.alpha"])
def test_an_infinite_value_is_refused(path):
    with pytest.raises(UsageError, match=path):
        load_experiment(PLAN, [f"{path}=.inf"])


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "é", "-x", "a\n"])
def test_an_arm_name_must_be_a_valid_folder_name(name):
    with pytest.raises(UsageError, match="match pattern"):
        minimal(arms={name: {}})


@pytest.mark.parametrize("name", ["controls", "codec", "unfinished", "sweep.json", "compare_results.py"])
def test_an_arm_cannot_have_the_name_of_another_file_in_a_sweeps_folder(name):
    with pytest.raises(UsageError, match=name):
        minimal(arms={name: {}})


def test_an_arm_and_a_control_cannot_share_a_name():
    with pytest.raises(UsageError, match="twin: the name of an arm and of a control"):
        minimal(arms={"twin": {}, "b": {}}, controls={"twin": {}})


def test_a_sweep_without_arms_is_refused():
    with pytest.raises(UsageError, match=r"arms: .*at least 1 item"):
        minimal(arms={})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no experiment file .*absent\.yaml"):
        load_experiment(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("- 1\n", "holds a list"), ("", "is empty"), ("~", "holds a NoneType"), ("a: [", "no.* readable YAML")],
)
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path, text, complaint):
    with pytest.raises(UsageError, match=f"e.yaml.*{complaint}"):
        load_experiment(write(tmp_path / "e.yaml", text))


@pytest.mark.parametrize(
    ("config", "embedding", "code"),
    [
        (CodecConfig(), 576, 144),  # 576 / 4
        (CodecConfig(), 4096, 1024),
        (CodecConfig(ratio=5), 576, 115),  # 115.2
        (CodecConfig(compress_dim=100), 576, 100),
        (CodecConfig(ratio=1), 576, 576),
        (CodecConfig(ratio=9999), 576, 1),
    ],
)
def test_the_code_width_follows_the_ratio_unless_given(config, embedding, code):
    assert config.code_width(embedding) == code


def test_codes_wider_than_embeddings_are_refused():
    with pytest.raises(UsageError, match=r"codec\.compress_dim is 577, .* as an embedding, 576; choose 1"):
        CodecConfig(compress_dim=577).code_width(576)


POSITIVE = st.floats(min_value=1e-12, max_value=1e12)
VALUES = st.one_of(
    st.tuples(st.just("data.samples"), st.integers(1, 10**9)),
    st.tuples(st.just("seed"), st.integers(-(2**40), 2**40)),
    st.tuples(st.just("training.adapter_lr"), POSITIVE),
    st.tuples(st.just("codec.ratio"), st.floats(min_value=1, max_value=1e12)),
    st.tuples(st.just("context"), st.booleans()),
    st.tuples(st.just("training.share_prefixes"), st.booleans()),
    st.tuples(st.just("model.compile"), st.one_of(st.just("auto"), st.booleans())),
    st.tuples(st.just("group_size"), st.one_of(st.just("auto"), st.integers(1, 99))),
    st.tuples(st.just("prompt.style"), st.sampled_from(["auto", "chat", "plain"])),
    st.tuples(st.just("lora.layers"), st.one_of(st.just("all"), st.integers(1, 99))),
    st.tuples(
        st.just("lora.targets"), st.lists(st.text("abc_", min_size=1), min_size=1, max_size=3, unique=True).map(tuple)
    ),
    st.tuples(st.just("description"), st.text(st.characters(codec="ascii", exclude_categories=["Cc"]))),
)


@given(VALUES)
@settings(derandomize=True, max_examples=60, deadline=None)
def test_a_value_set_on_the_command_line_is_the_value_read_back(item):
    path, value = item
    assert read(load_experiment(PLAN, [f"{path}={json.dumps(value)}"]), path) == value


@given(st.lists(VALUES, max_size=4))
@settings(derandomize=True, max_examples=20, deadline=None)
def test_an_experiment_written_as_yaml_is_read_back_equal(tmp_path_factory, items):
    experiment = load_experiment(PLAN, [f"{path}={json.dumps(value)}" for path, value in items])
    copy = tmp_path_factory.mktemp("yaml") / "copy.yaml"
    copy.write_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    assert load_experiment(copy) == experiment


def test_a_baseline_that_is_no_arm_is_refused():
    with pytest.raises(UsageError, match=r"'basline' is no arm \(did you mean 'baseline'\?\)"):
        minimal(baseline="basline")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reads=text", "the setting 'reads' is now called input"),
        ("arms.baseline.reads=text", "the setting 'arms.baseline.reads' is now called arms.baseline.input"),
        ("fused_arms=2", "the setting 'fused_arms' is now called group_size"),
        ("processes=2", "the setting 'processes' is now called worker_processes"),
        ("training.pass_tokens=9", "the setting 'training.pass_tokens' is now called training.micro_batch_tokens"),
        ("evaluation.pass_tokens=9", "the setting 'evaluation.pass_tokens' is now called evaluation.batch_tokens"),
        ("codec.bits=4", "the setting 'codec.bits' is now called codec.quantized_pca.bits, with codec.kind=quantized_"),
        ("reconstruction.mode=table", "reconstruction.mode: Input should be 'rows' or 'sequence', got 'table'"),
    ],
)
def test_an_earlier_name_is_refused_with_the_new_one(override, message):
    with pytest.raises(UsageError) as caught:
        load_experiment(PLAN, [override])
    assert message in str(caught.value)


INTERACTION = {
    "arm": "r4_a8_layers8",
    "baseline": "baseline",
    "reference_arm": "text_lora",
    "reference_baseline": "text_zero_shot",
}


def test_an_interaction_names_arms_and_controls():
    made = load_experiment(PLAN, [f"interactions.x={json.dumps(INTERACTION)}"])
    assert made.interactions["x"].model_dump() == INTERACTION


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("arm=r4_a8_layer8", r"interactions\.x\.arm: 'r4_a8_layer8' is no arm or control \(did you mean 'r4_a8_lay"),
        ("reference_baseline=text", r"interactions\.x\.reference_baseline: 'text' is no arm or control"),
        ("baselin=baseline", r"unknown setting 'interactions\.x\.baselin' \(did you mean 'baseline'\?\)"),
        ("reference_arm=null", r"interactions\.x\.reference_arm: .*got None"),
    ],
)
def test_an_interaction_of_something_else_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        load_experiment(PLAN, [f"interactions.x={json.dumps(INTERACTION)}", f"interactions.x.{change}"])


def test_settings_that_arms_share_are_those_that_only_an_experiment_has():
    assert ArmConfig.shared == set(Experiment.model_fields) - set(ArmConfig.model_fields)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("codec.kind=pcaa", "codec.kind: 'pcaa' is no codec (did you mean 'pca'?); there are: pca, quantized_pca,"),
        ("arms.r4_a8_layers8.codec.kind=pcaa", "arms.r4_a8_layers8.codec.kind: 'pcaa' is no codec"),
        ("prompt.answer_form=spaced", "prompt.answer_form: Input should be 'bare' or 'space' or 'auto', got 'spaced'"),
        ("lora.layers=some", "lora.layers: Input should be a valid integer or 'all', got 'some'"),
        ("lora.layers=0", "lora.layers: Input should be greater than 0 or 'all', got 0"),
        ("seeds=3", "seeds: Input should be a list, got 3"),
        (
            "blocks.reconstruction.modes=[cloze, autoencode]",
            "blocks.reconstruction.modes: Input should be 'autoencoding', 'continuation', 'recall' or 'cloze', got ",
        ),
        ("blocks.reconstruction.modes=[]", "blocks.reconstruction.modes: has 0 values; give 1 or more, or leave the"),
        ("search=[1, 2]", "search: Input should be a mapping, got [1, 2]"),
        (
            "search.training.lora_lr=0.1",
            "search: training.lora_lr takes a list of at least two values, such as [A, B], ",
        ),
        ("search.lora={rank: 3}", "search: lora.rank takes a list of at least two values, such as [A, B], got 3"),
        ("search.training.lora_lr=[1.0, -1]", "search.training.lora_lr: Input should be greater than 0, got -1"),
        ("search.codec.kind=[pca, pcaa]", "search.codec.kind: 'pcaa' is no codec (did you mean 'pca'?)"),
        ("search.data.samples=[1, 2]", "search: the setting 'search.data' belongs to the whole experiment"),
        ("model.device=mps", "model.device: 'mps' is not supported: Thinwire runs on CPUs and CUDA GPUs; use"),
        ("model.device=gpu", "model.device: 'gpu' is no device; use auto, auto_map, or what is here: cpu"),
        ("interactions.mine.arm=baseline", "interactions.mine.baseline is required; set it"),
        (
            "prompt.template=' '",
            "prompt.template: takes a Jinja template, or null for the built-in message; got a blank",
        ),
        ("prompt.turns=[{role: user, content: a}]", "prompt.turns: takes a system message first, if any, then pairs"),
        ("prompt.turns=[{role: human, content: a}]", "prompt.turns.role: Input should be 'system', 'user' or 'assist"),
        ("prompt.turns=[{role: system}]", "prompt.turns.content is required; set it"),
        ("prompt.turns=[{role: system, content: ''}]", "prompt.turns.content: takes a text, got a blank text"),
    ],
)
def test_each_wrong_value_is_one_line_that_says_what_was_expected(override, message):
    with pytest.raises(UsageError) as caught:
        load_experiment(PLAN, [override])
    assert any(line.startswith(message) for line in str(caught.value).splitlines()), str(caught.value)


@pytest.mark.parametrize(
    ("modes", "requests", "is_refused"),
    [(["autoencoding"], 2, True), (["autoencoding", "continuation"], 2, False), (["autoencoding", "cloze"], 8, False)],
)
def test_more_requests_of_whole_texts_than_there_are_modes_are_refused(modes, requests, is_refused):
    settings_ = {"blocks": {"reconstruction": {"modes": modes, "requests": requests}}}
    if not is_refused:
        assert minimal(**settings_).blocks.reconstruction.requests == requests
        return
    with pytest.raises(UsageError, match=r"requests is 2, .* once in each of modes, autoencoding; add recall or cloze"):
        minimal(**settings_)
