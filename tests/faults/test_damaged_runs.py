"""Damage to a finished run's folder: every command gives what it gave before, or one error that names the file."""

import json
import shutil
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from damage import ANY_FILE, changed, edited, leaves_of, without
from damaged_runs import COMMANDS, OF_RECORD, RECORD, Setting, attempt, copy_of, shortfall
from sweep_folder import replace_arm_record
from thinwire.checkpoints.load import check_arm, find_arm
from thinwire.errors import ThinwireError
from thinwire.experiment.sweep import run_sweep
from thinwire.files import write_jsonl
from thinwire.reading import read_json, read_jsonl
from thinwire.report.analysis import analyse
from thinwire.report.compare import ResultsError, load_rows
from thinwire.results.arm_record import read_arm_record
from thinwire.results.integrity import hashes_of_arm
from thinwire.results.read import read_results
from thinwire.results.record import SEAL
from tiny_models import save_sweep_inputs
from tiny_sweeps import experiment

LORA = {"rank": 2, "alpha": 4, "layers": 1, "dropout": 0.0}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A finished run with a search, and its experiment file beside it."""
    folder = save_sweep_inputs(tmp_path_factory.mktemp("damaged"))
    arms = {"baseline": {}, "r2": {"lora": LORA}}
    controls = {"codec_only": {"input": "codec"}, "text_lora": {"input": "text", "lora": {"rank": 2, "dropout": 0.0}}}
    made = experiment(
        folder,
        arms=arms,
        controls=controls,
        search={"training.lora_lr": [0.001, 0.1]},
        verdict={"resamples": 100},
        training={"epochs": 1, "batch_size": 4, "adapter_lr": 0.01},
        worker_processes=1,
    )
    (folder / "experiment.yaml").write_text(yaml.safe_dump(made.model_dump(mode="json", exclude_unset=True)))
    plain = made.model_dump(mode="json", exclude_unset=True) | {"search": {}, "controls": {}}
    (folder / "other.yaml").write_text(yaml.safe_dump(plain))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINWIRE_CACHE", str(folder / "cache"))
        run_sweep(made, folder / "whole" / "run", controls="all")
        yield folder


@pytest.fixture(scope="module")
def expected():
    """What each command gives of the undamaged run, filled by the first test."""
    return {}


@pytest.fixture
def setting(inputs, expected, thinwire, tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(inputs / "cache"))
    found = Setting(inputs, inputs / "whole" / "run", expected, thinwire)
    for name in COMMANDS if not expected else ():
        copy_of(inputs, tmp_path / "case")
        outcome = attempt(found, name, tmp_path / "case")
        assert outcome.code == 0, outcome.said
        expected[name] = outcome.results
    return found


def names_of(run: Path) -> list[str]:
    """List the files that carry a run's results, by path in it."""
    left_out = ("report.", "sweep_summary", "compare_results", "training_")
    paths = [path for path in sorted(run.rglob("*")) if path.parent.name != ".workers"]
    files = [path for path in paths if path.is_file() and not path.name.startswith(left_out)]
    names = [str(path.relative_to(run)) for path in files]
    return [name for name in names if not name.startswith(("search/text_lora", "search/r2--lora_lr-0.001"))]


def is_needed(name: str, file: str, how: str) -> bool:
    """Whether a command must notice that the content of a file of the run has changed."""
    command, _, arm = name.partition(" ")
    if command == "resume":  # whatever an arm or the sweep left; a deleted record means that the arm is not over
        regenerated = ("analysis.json", *(("record.json", "search.json") if how == "delete" else ()))
        return not file.endswith(regenerated)
    if command in ("evaluate", "export"):
        return file.startswith(f"{arm}/checkpoint") or (file.startswith("codec/") and arm != "controls/text_lora")
    if command in ("report", "publish", "postprocess", "plot"):
        return file.endswith("predictions.jsonl")
    return False


def is_left_out(name: str, file: str, how: str) -> bool:
    """Whether a command does without a file that was deleted, and shows that: a plan has the arm to do again, and a
    table has no intervals."""
    without_it = {"dry resume": ("record.json", "search.json"), "compare": ("analysis.json",)}
    return how == "delete" and file.endswith(without_it.get(name, ()))


def says_the_same(before: Path, now: Path) -> bool:
    """Whether the damage left what the file says, as a space in the place of another does in JSON."""
    if now.is_symlink() or not now.is_file():
        return False
    if now.read_bytes() == before.read_bytes():
        return True
    if now.suffix != ".json":
        return False
    with suppress(ThinwireError):
        return bool(read_json(now) == read_json(before))
    return False


def cases(run: Path) -> list[tuple[str, str, str]]:
    """List all damages of all files with all commands: (command, file, damage)."""
    return [(name, file, how) for file in names_of(run) for how in ANY_FILE for name in COMMANDS if reads(name, file)]


def reads(name: str, file: str) -> bool:
    """Whether a command may read a file at all; what it cannot know of is tried with one command alone."""
    command, _, arm = name.partition(" ")
    if command in ("evaluate", "export"):
        return file.startswith((arm, "codec/", "sweep.json"))
    if name in ("teach", "start"):
        return file.startswith({"teach": "r2", "start": "controls/text_lora"}[name]) or file == "sweep.json"
    if file.startswith("search/"):
        return name == "resume"
    return "checkpoint" not in file or name in ("resume", "dry resume", "report")


def test_every_damage_to_every_file_is_an_error_that_names_it_or_changes_nothing(setting, long_form, tmp_path):
    tried = cases(setting.run)
    chosen = tried if long_form else tried[:: len(tried) // 110]
    short = {}
    for name, file, how in chosen:
        run = copy_of(setting.folder, tmp_path / "case")
        if file.startswith("search/"):  # which is over, and read again only if its choices are lost
            (run / "search.json").unlink()
        ANY_FILE[how](run / file)
        must = is_needed(name, file, how) and not says_the_same(setting.run / file, run / file)
        another = is_left_out(name, file, how)
        if found := shortfall(setting, name, tmp_path / "case", Path(file).name, must_fail=must, any_result=another):
            short[name, file, how] = found
    conclude("damaged files", len(chosen), short, at_least=551 if long_form else 100)


def conclude(kind: str, tried: int, short: dict, *, at_least: int) -> None:
    """Say how many cases were tried, and fail if one fell short or there were too few."""
    sys.stdout.write(f"{kind}: {tried} cases, {len(short)} fell short\n")
    assert not short, "\n".join(f"{case}: {why}" for case, why in short.items())
    assert tried >= at_least


# Exchanges and changes on purpose


def exchange(run: Path, one: str, other: str) -> None:
    """Let two files or folders change places."""
    (run / one).rename(run / "aside")
    (run / other).rename(run / one)
    (run / "aside").rename(run / other)


def replace(run: Path, one: str, by: str) -> None:
    """Put a copy of a file or folder in the place of another."""
    target = run / one
    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    (shutil.copytree if (run / by).is_dir() else shutil.copyfile)(run / by, target)


def link(run: Path, one: str, to: Path) -> None:
    """Put a link in the place of a file or folder, whose content moves to where it leads if nothing is there."""
    if to.exists():
        shutil.rmtree(run / one)
    else:
        (run / one).rename(to)
    (run / one).symlink_to(to)


def rewrite_factors(run: Path, change) -> None:
    """Change the LoRA factors of r2, by their names."""
    file = run / "r2/checkpoint/lora/adapter_model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(file)).items()}, file)


def rewrite_config(run: Path, **changes) -> None:
    """Change peft's settings of r2."""
    file = run / "r2/checkpoint/lora/adapter_config.json"
    file.write_text(json.dumps(read_json(file) | changes))


def rewrite_answers(run: Path, change) -> None:
    """Change the answers of r2 and the hash in its record, but not its scores."""
    folder = run / "r2"
    write_jsonl(folder / "predictions.jsonl", change(read_jsonl(folder / "predictions.jsonl")))
    rehash(folder)


def rehash(folder: Path) -> None:
    """Let an arm's record fit its files as they are."""
    replace_arm_record(folder, read_arm_record(folder).model_copy(update={"files": hashes_of_arm(folder)}))


def rehashed(change):
    """Let the record of r2 fit its files after ``change``: the content alone must tell."""

    def apply(run: Path) -> None:
        change(run)
        rehash(run / "r2")

    return apply


def stranger(run: Path) -> None:
    (run / "r2/checkpoint/pytorch_model.bin").write_bytes(b"stranger")


def edit_record(place: tuple, new):
    """Change an entry in the record of r2, with a hash that fits."""
    return lambda run: edited(run / "r2/record.json", place, new, reseal=True)


LOADING = ("evaluate r2", "export r2", "teach")
READING = ("report", "publish", "plot", "postprocess")
FACTORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"

EXCHANGES = {
    "the checkpoint of another arm": (
        lambda run: replace(run, "r2/checkpoint", "baseline/checkpoint"),
        *("checkpoint", (*LOADING, "resume")),
    ),
    "the adapter of another arm": (
        lambda run: replace(run, "r2/checkpoint/adapter.safetensors", "baseline/checkpoint/adapter.safetensors"),
        *("adapter.safetensors", (*LOADING, "resume")),
    ),
    "two checkpoints exchanged": (
        lambda run: exchange(run, "r2/checkpoint", "baseline/checkpoint"),
        *("checkpoint", (*LOADING, "resume", "evaluate baseline", "export baseline")),
    ),
    "LoRA of another arm": (
        lambda run: replace(run, "r2/checkpoint/lora", "controls/text_lora/checkpoint/lora"),
        *("checkpoint/lora", (*LOADING, "resume")),
    ),
    "no checkpoint": (lambda run: shutil.rmtree(run / "r2/checkpoint"), "checkpoint", LOADING),
    "no LoRA": (lambda run: shutil.rmtree(run / "r2/checkpoint/lora"), "checkpoint/lora", (*LOADING, "resume")),
    "a stranger in the checkpoint": (stranger, "pytorch_model.bin", (*LOADING, "resume")),
    "a checkpoint elsewhere": (
        lambda run: link(run, "r2/checkpoint", run.parent / "elsewhere"),
        *("checkpoint", (*LOADING, "resume")),
    ),
    "an arm elsewhere": (
        lambda run: link(run, "r2", run.parent / "r2"),
        *("r2", (*READING, "resume")),
    ),
    "an arm that is a link to another": (
        lambda run: link(run, "r2", run / "baseline"),
        *("record.json", (*READING, "resume", "compare of records", "best of records")),
    ),
    "two arms exchanged": (
        lambda run: exchange(run, "r2", "baseline"),
        *("record.json", (*READING, *LOADING, "resume", "compare of records", "best of records")),
    ),
    "the record of another arm": (
        lambda run: replace(run, "r2/record.json", "baseline/record.json"),
        *("record.json", (*READING, *LOADING, "resume", "compare of records", "best of records")),
    ),
    "two records exchanged": (
        lambda run: exchange(run, "r2/record.json", "baseline/record.json"),
        *("record.json", (*READING, *LOADING, "resume", "compare of records", "best of records")),
    ),
    "the record of a control": (
        lambda run: replace(run, "r2/record.json", "controls/text_lora/record.json"),
        *("record.json", (*READING, *LOADING, "resume", "compare of records", "best of records")),
    ),
    "the answers of another arm": (
        lambda run: replace(run, "r2/predictions.jsonl", "controls/text_lora/predictions.jsonl"),
        *("predictions.jsonl", (*READING, "resume")),
    ),
    "the diagnostics of another arm": (
        lambda run: replace(run, "r2/diagnostics.jsonl", "baseline/diagnostics.jsonl"),
        *("diagnostics.jsonl", ("report", "plot", "resume")),
    ),
    "a question less": (
        lambda run: rewrite_answers(run, lambda rows: rows[1:]),
        *("predictions.jsonl", READING),
    ),
    "a question twice": (
        lambda run: rewrite_answers(run, lambda rows: [rows[0], *rows[:-1]]),
        *("predictions.jsonl", READING),
    ),
    "other questions": (
        lambda run: rewrite_answers(run, lambda rows: [{**row, "id": f"{row['id']}x"} for row in rows]),
        *("predictions.jsonl", READING),
    ),
    "another paragraph": (
        lambda run: rewrite_answers(run, lambda rows: [{**row, "paragraph_id": "p"} for row in rows]),
        *("predictions.jsonl", READING),
    ),
    "other gold answers": (
        lambda run: rewrite_answers(run, lambda rows: [{**row, "golds": ["7"]} for row in rows]),
        *("predictions.jsonl", READING),
    ),
    "better scores": (
        lambda run: rewrite_answers(run, lambda rows: [{**row, "score": 1.0} for row in rows]),
        *("predictions.jsonl", READING),
    ),
    "scores beyond 1": (
        lambda run: rewrite_answers(run, lambda rows: [{**row, "score": 1.5} for row in rows]),
        *("predictions.jsonl", READING),
    ),
    "scores as texts": (
        lambda run: rewrite_answers(run, lambda rows: [{**row, "score": "0"} for row in rows]),
        *("predictions.jsonl", READING),
    ),
    "no gold answers": (
        lambda run: rewrite_answers(run, lambda rows: [{**row, "golds": []} for row in rows]),
        *("predictions.jsonl", READING),
    ),
    "no answers": (lambda run: rewrite_answers(run, lambda rows: []), "predictions.jsonl", READING),
    "factors under other names": (
        rehashed(lambda run: rewrite_factors(run, lambda found: {f"x.{name}": one for name, one in found.items()})),
        *(FACTORS, LOADING),
    ),
    "a factor less": (
        rehashed(lambda run: rewrite_factors(run, lambda found: {n: one for n, one in found.items() if n != FIRST})),
        *(FACTORS, LOADING),
    ),
    "a factor too many": (
        rehashed(
            lambda run: rewrite_factors(
                run, lambda found: found | {FIRST.replace("layers.0", "layers.1"): found[FIRST].clone()}
            )
        ),
        *(FACTORS, LOADING),
    ),
    "factors of another layer": (
        rehashed(
            lambda run: rewrite_factors(
                run, lambda found: {name.replace("layers.0", "layers.1"): one for name, one in found.items()}
            )
        ),
        *(FACTORS, LOADING),
    ),
    "factors of another target": (
        rehashed(
            lambda run: rewrite_factors(
                run, lambda found: {name.replace("q_proj", "gate_proj"): one for name, one in found.items()}
            )
        ),
        *(FACTORS, LOADING),
    ),
    "factors of another rank": (
        rehashed(
            lambda run: rewrite_factors(
                run, lambda found: {n: one[:1] if "lora_A" in n else one[:, :1] for n, one in found.items()}
            )
        ),
        *(FACTORS, LOADING),
    ),
    "transposed factors": (
        rehashed(lambda run: rewrite_factors(run, lambda found: {name: one.T for name, one in found.items()})),
        *(FACTORS, LOADING),
    ),
    "factors of another type": (
        rehashed(lambda run: rewrite_factors(run, lambda found: {name: one.double() for name, one in found.items()})),
        *(FACTORS, LOADING),
    ),
    "factors that are not finite": (
        rehashed(lambda run: rewrite_factors(run, lambda found: {name: one / 0 for name, one in found.items()})),
        *(FACTORS, ("evaluate r2", "export r2")),
    ),
    "another alpha": (rehashed(lambda run: rewrite_config(run, lora_alpha=8)), CONFIG, LOADING),
    "another rank": (rehashed(lambda run: rewrite_config(run, r=4)), CONFIG, LOADING),
    "other targets": (rehashed(lambda run: rewrite_config(run, target_modules=["q_proj"])), CONFIG, LOADING),
    "other layers": (rehashed(lambda run: rewrite_config(run, layers_to_transform=[1])), CONFIG, LOADING),
    "another form of LoRA": (rehashed(lambda run: rewrite_config(run, use_rslora=True)), CONFIG, LOADING),
    "another kind of adapter": (rehashed(lambda run: rewrite_config(run, peft_type="IA3")), CONFIG, LOADING),
    "code of an adapter": (
        rehashed(lambda run: rewrite_config(run, auto_mapping={"parent_library": "os", "base_model_class": "system"})),
        *(CONFIG, LOADING),
    ),
    "a setting that peft does not know": (rehashed(lambda run: rewrite_config(run, more=[1])), CONFIG, LOADING),
    "a codec out of the run": (
        edit_record(("results", "codec", "file"), "codec/../../elsewhere.safetensors"),
        *("record.json", (*READING, *LOADING, "resume")),
    ),
    "an absolute codec": (
        edit_record(("results", "codec", "file"), "/etc/passwd"),
        *("record.json", (*READING, *LOADING, "resume")),
    ),
    "another codec's name": (
        edit_record(("results", "codec", "file"), "codec/pca-none.safetensors"),
        *("pca-none.safetensors", (*LOADING, "resume")),
    ),
    "files out of the run": (
        edit_record(("files", "../../x"), "0" * 64),
        *("record.json", (*READING, *LOADING, "resume")),
    ),
    "an arm out of the run": (
        lambda run: edited(run / "sweep.json", ("planned", "../r2"), "arm", reseal=True),
        *("sweep.json", (*READING, "resume")),
    ),
    "a revision of another model": (
        edit_record(("model", "revision"), "f" * 40),
        *("r2", (*READING, *LOADING, "resume")),
    ),
    "an analysis of another sweep": (
        lambda run: edited(run / "analysis.json", ("sweep", "started_at"), "2020-01-02T03:04:05Z", reseal=True),
        *("analysis.json", ("compare", "best")),
    ),
    "a header of an earlier format without its hash": (
        lambda run: without(run / "sweep.json", (SEAL,), reseal=False),
        *("sweep.json", (*READING, *LOADING, "compare", "best", "resume")),
    ),
    "a record without its hash": (
        lambda run: without(run / "r2/record.json", (SEAL,), reseal=False),
        *("record.json", (*READING, *LOADING, "resume", "compare of records", "best of records")),
    ),
    "no header": (lambda run: (run / "sweep.json").unlink(), "sweep.json", (*READING, "compare", "best", "resume")),
}
"""What is done, what the error names, and the commands that must notice it; all others give what they gave before."""


def test_what_is_exchanged_or_changed_on_purpose_is_noticed_by_all_that_need_it(setting, long_form, tmp_path):
    short, tried = {}, 0
    others = ("report", "compare", "evaluate baseline") if long_form else ()
    for case, (damage, file, noticing) in EXCHANGES.items():
        for name in dict.fromkeys([*noticing, *others] if long_form else noticing[:: max(1, len(noticing) - 1)]):
            run = copy_of(setting.folder, tmp_path / "case")
            command = name.removesuffix(" of records")
            damage(run)
            if command != name:
                (run / "analysis.json").unlink()
            tried += 1
            if found := shortfall(
                # A record that names another codec, and whose hash fits, is of another codec in a report.
                setting,
                command,
                tmp_path / "case",
                file,
                must_fail=name in noticing,
                any_result=case == "another codec's name" and name not in noticing,
            ):
                short[name, case] = found
    conclude("exchanges", tried, short, at_least=250 if long_form else 60)


# Entries of JSON files

JSON = {
    "r2/record.json": ("report", "evaluate r2", "resume", "teach"),
    "controls/codec_only/record.json": ("report", "evaluate controls/codec_only"),
    "sweep.json": ("report", "compare", "evaluate r2", "resume"),
    "analysis.json": ("compare", "best"),
    "search.json": ("report", "resume"),
    "search/sweep.json": ("resume",),
    "r2/checkpoint/lora/adapter_config.json": ("evaluate r2", "resume"),
}
"""The commands that read each file whole."""


def test_every_entry_of_a_json_file_that_is_changed_or_missing_is_noticed(setting, long_form, tmp_path):
    tried = []
    for file, names in JSON.items():
        for place in leaves_of(read_json(setting.run / file)):
            tried += [(name, file, place, how) for name in names for how in ("changed", "missing")]
    chosen = tried if long_form else tried[:: len(tried) // 40]
    short = {}
    for name, file, place, how in chosen:
        run = copy_of(setting.folder, tmp_path / "case")
        if file.startswith("search/"):
            (run / "search.json").unlink()
        if how == "missing":
            without(run / file, place, reseal=False)
        else:
            inner = read_json(run / file)
            for key in place:
                inner = inner[key]
            edited(run / file, place, changed(inner)[0], reseal=False)
        if found := shortfall(setting, name, tmp_path / "case", Path(file).name, must_fail=True):
            short[name, file, place, how] = found
    conclude("entries", len(chosen), short, at_least=551 if long_form else 40)


def test_any_value_in_a_place_of_a_json_file_with_a_hash_that_fits_is_taken_or_one_error(setting, long_form, tmp_path):
    tried = []
    for file, names in JSON.items():
        for place in leaves_of(read_json(setting.run / file)):
            if place and place[-1] != SEAL:
                tried += [(name, file, place, number) for number in range(len(changed(0))) for name in names]
    chosen = tried[:: len(tried) // (1500 if long_form else 40)]
    short = {}
    for name, file, place, number in chosen:
        run = copy_of(setting.folder, tmp_path / "case")
        inner = read_json(run / file)
        for key in place:
            inner = inner[key]
        edited(run / file, place, changed(inner)[number], reseal="adapter_config" not in file)
        if found := shortfall(setting, name, tmp_path / "case", "", any_result=True):
            short[name, file, place, number] = found
    conclude("values", len(chosen), short, at_least=551 if long_form else 40)


# Published records


def with_record(setting, case) -> Path:
    """Copy the run to ``case``, with a published record in it and a page beside it; returns the record."""
    run = copy_of(setting.folder, case)
    (case / "out").mkdir()
    (case / "out" / "page.md").write_text("Results\n")
    assert setting.thinwire("publish", run, "--record", run / RECORD)[0] == 0
    return run / RECORD


def test_damage_to_a_published_record_is_noticed_by_all_that_read_it(setting, long_form, tmp_path):
    short, tried, case = {}, 0, tmp_path / "case"
    kept = with_record(setting, tmp_path / "kept").read_bytes()
    for name in OF_RECORD:
        with_record(setting, case)
        setting.expected[name] = attempt(setting, name, case).results
    places = leaves_of(json.loads(kept))
    damages = {how: (damage, False) for how, damage in ANY_FILE.items()}
    for place in places if long_form else places[:: len(places) // 30]:
        damages[f"{place} changed"] = (partial(change_leaf, place=place), True)
        damages[f"{place} missing"] = (partial(without, place=place, reseal=False), True)
    damages["without its hash"] = (partial(without, place=(SEAL,), reseal=False), True)
    for number, (how, (damage, must_fail)) in enumerate(damages.items()):
        for name in OF_RECORD if long_form else OF_RECORD[number % len(OF_RECORD) :][:1]:
            record = with_record(setting, case)
            record.write_bytes(kept)
            damage(record)
            tried += 1
            if found := shortfall(setting, name, case, RECORD, must_fail=must_fail):
                short[name, how] = found
    conclude("published records", tried, short, at_least=1000 if long_form else 80)


def change_leaf(path: Path, place: tuple) -> None:
    inner = read_json(path)
    for key in place:
        inner = inner[key]
    edited(path, place, changed(inner)[0], reseal=False)


@given(data=st.data())
@settings(derandomize=True, deadline=None, max_examples=150)
def test_records_of_any_content_are_read_or_one_error(inputs, tmp_path_factory, data):
    """Fuzzes what readers of records get: several entries at once, with a hash that fits."""
    case = tmp_path_factory.getbasetemp() / "fuzzed"
    run = copy_of(inputs, case)
    file = data.draw(st.sampled_from(["r2/record.json", "sweep.json", "search.json"]))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from([one for one in leaves_of(read_json(run / file)) if one != (SEAL,)]))
        place = place[: data.draw(st.integers(1, len(place)))]
        value = data.draw(st.sampled_from([*changed(0), 0, 1, -(10**400), 1e308, "", "\0", "../x", {"a": 1}, [1, "x"]]))
        edited(run / file, place, value, reseal=True)
    for read in (
        lambda: analyse(read_results(run)),
        lambda: load_rows(run),
        lambda: check_arm(find_arm(run / "r2")),
    ):
        with suppress(ThinwireError, ResultsError):
            read()


def test_a_run_of_an_earlier_version_is_read_and_not_checked_which_is_said_once(setting, tmp_path, caplog):
    run = copy_of(setting.folder, tmp_path / "case")
    for file in ("r2/record.json", "baseline/record.json", "sweep.json", "search.json", "analysis.json"):
        earlier(run / file)
    for name in ("report", "compare", "evaluate r2"):
        caplog.clear()
        outcome = attempt(setting, name, tmp_path / "case")
        assert outcome.code == 0, outcome.said
        assert outcome.results == setting.expected[name]
        notes = [one for one in caplog.messages if "was made before files carried hashes" in one]
        assert len(notes) == (1 if name == "report" else 0) or "note: " in outcome.said


def earlier(file: Path) -> None:
    """Take out of a file what versions without hashes did not write."""
    content = read_json(file)
    content.pop(SEAL)
    if "format" in content:
        content["format"] = 2
    content.pop("files", None)
    if (content.get("results") or {}).get("codec"):
        content["results"]["codec"].pop("sha256")
    file.write_text(json.dumps(content))
