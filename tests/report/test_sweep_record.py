"""Sweep records: what they hold, what is made from them, and that this repository's texts equal them."""

import json
import re
from pathlib import Path

import pytest

from small_analysis import COLLAPSED, interaction, share, with_row, with_rows, with_sweep
from sweep_folder import edit_answers, everything, load, record, write_run
from thinwire.errors import ThinwireError, UsageError
from thinwire.report.analysis import analyse
from thinwire.report.analysis_record import CodecSummary
from thinwire.report.caveats import FIXED, ONE_SEED
from thinwire.report.figures.files import write_figures
from thinwire.report.markdown.insert import BEGIN, END
from thinwire.report.markdown.results_section import section, short_section
from thinwire.report.markdown.sweep_record import FORMAT, KIND, as_text, read_sweep_record, write_sweep_record
from thinwire.report.series import NO_SERIES
from thinwire.results.arm_record import CodecMetric
from thinwire.results.read import read_results
from thinwire.results.record import SEAL, sealed

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
RECORDS = RESULTS / "records"
COMMAND = "thinwire sweep experiments/phase1a_lora.yaml --set data.samples=5000"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("publication") / "run")


@pytest.fixture(scope="module")
def analysis(run):
    return analyse(read_results(run))


@pytest.fixture(scope="module")
def published(analysis, tmp_path_factory):
    """The analysis as its sweep record gives it back."""
    file = tmp_path_factory.mktemp("published") / "one.json"
    write_sweep_record(file, analysis.model_copy(update={"command": COMMAND}))
    return read_sweep_record(file)


def row_of(found, name):
    return next(row for row in found.rows if row.name == name)


def changed_difference(found, name, **changes):
    difference = row_of(found, name).score_difference.model_copy(update=changes)
    return with_row(found, name, score_difference=difference)


def cells(text, name):
    """The cells of every line that a configuration has in the tables of ``text``."""
    lines = [line for line in text.splitlines() if re.match(rf"\| (\*\*)?{name}(\*\*)? \|", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# The record


def test_numbers_are_the_analysis_own_to_six_digits(analysis, published):
    chosen, source = row_of(published, "r16_a32_full"), row_of(analysis, "r16_a32_full")
    assert (chosen.score, chosen.em, chosen.selection_score) == (0.6875, 0.625, 0.59375)  # 11/16, 10/16, as given
    assert chosen.raw_score == 0.666667  # (11 - 1/3) / 16 = 2/3
    assert (chosen.cosine_at_start, chosen.cosine, chosen.params) == (0.8125, 0.875, 5000)
    for key in ("estimate", "low", "high", "pointwise_low", "pointwise_high", "p_adjusted"):
        found = getattr(chosen.score_difference, key)
        assert found == pytest.approx(getattr(source.score_difference, key), rel=1e-5), key
    assert published.bytes.matrix_bytes_codes == 49152 * 144 * 2  # whole numbers stay whole
    assert isinstance(published.bytes.matrix_bytes_codes, int)
    assert [type(one.bits) for one in published.bytes.wire_bits] == [*[int] * 5, float]
    assert chosen.best is True


def test_of_the_answers_only_what_the_tables_show_is_kept_and_no_answer(analysis):
    text = as_text(analysis)
    # r16_a32_full begins no two answers alike, and none is cut short.
    (kept,) = [json.loads(line.strip(" ,")) for line in text.splitlines() if '{"name": "r16_a32_full"' in line]
    assert kept["degeneration"] == {
        "finding": "healthy",
        "seed": 0,
        "reasons": [],
        "metrics": {
            "distinct_share": 1.0,
            "top_first_word": "red0",
            "top_first_word_share": 0.0625,
            "run_on_share": 0.0,
        },
    }
    assert not [word for word in ("hill", "mill", "examples", "extractors", "next_steps") if word in text]


def test_it_says_where_the_numbers_come_from(analysis, published):
    content = json.loads(as_text(analysis))
    assert (content["kind"], content["format"], content["command"]) == (KIND, FORMAT, None)
    assert published.command == COMMAND
    sweep = published.sweep
    assert sweep.seconds == 3600  # 03:04:05 to 04:04:05
    assert sweep.environment.git_commit == "f" * 40
    assert (sweep.model.revision, sweep.samples, sweep.epochs) == ("0123456789abcdef", 5000, 1)
    assert (published.thresholds["strong"], published.confidence, published.resamples) == (0.1, 0.95, 1000)


def test_a_sweep_without_an_end_has_no_duration(tmp_path):
    unended = analyse(read_results(write_run(tmp_path / "run", finished_at=None)))
    assert unended.sweep.seconds is None
    assert "\n| time | 2026-01-02 |\n" in section(unended)


def test_what_failed_keeps_its_error_and_has_no_results(published):
    broken = row_of(published, "broken")
    assert (broken.status, broken.error, broken.rank) == ("failed", "ValueError: loss is nan", 2)
    assert broken.score is broken.degeneration is broken.score_difference is None


def test_the_file_has_a_line_for_each_row_and_is_the_same_when_written_again(published):
    lines = as_text(published).splitlines()
    for row in published.rows:
        assert sum(f'{{"name": "{row.name}"' in line for line in lines) == 1
    changed = with_row(published, "codec_only", score=0.5)
    *rows, seal, _ = zip(lines, as_text(changed).splitlines(), strict=True)
    assert sum(old != new for old, new in rows) == 1
    assert seal[0] != seal[1], "and the hash of all"


def test_a_record_gives_the_analysis_back_and_the_same_texts(analysis, published, tmp_path):
    write_sweep_record(tmp_path / "again.json", published)
    assert read_sweep_record(tmp_path / "again.json") == published
    same = analysis.model_copy(update={"command": COMMAND})
    assert section(published) == section(same)
    assert short_section(published) == short_section(same)


def test_a_record_keeps_interactions_and_reasons_and_what_it_is_of(published, tmp_path):
    found = published.model_copy(update={"interactions": (interaction("arm", (0.125, 0.1, 0.15), (0.25, 0.2, 0.3)),)})
    found = with_row(with_sweep(found, shared_paragraphs=12), "codec_only", degeneration=COLLAPSED)
    write_sweep_record(tmp_path / "one.json", found)
    again = read_sweep_record(tmp_path / "one.json")
    assert again.interactions == found.interactions
    assert row_of(again, "codec_only").degeneration.reasons == COLLAPSED.reasons
    assert section(again) == section(found)
    assert sum("reference_gain" in line for line in (tmp_path / "one.json").read_text().splitlines()) == 1


def test_what_a_record_of_an_earlier_version_does_not_say_is_not_written_as_if_it_did(published, tmp_path):
    content = json.loads(as_text(published)) | {"format": 2}
    del content[SEAL], content["sweep"]["shared_paragraphs"], content["interactions"]
    for row in content["rows"]:
        if "degeneration" in row:
            del row["degeneration"]["seed"], row["degeneration"]["reasons"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    old = read_sweep_record(tmp_path / "old.json")
    assert (old.interactions, old.sweep.shared_paragraphs) == ((), 0)
    assert json.loads(as_text(old)) == sealed(content | {"format": 3})


def test_other_files_are_refused_and_never_overwritten(published, tmp_path):
    other = tmp_path / "other.json"
    for text in ('{"kind": "calibration"}', '{"date": "2026"}', "[1]"):
        other.write_text(text)
        with pytest.raises(UsageError, match="is no sweep record"):
            write_sweep_record(other, published)
        assert other.read_text() == text
    other.write_text(json.dumps({"kind": KIND, "format": 1}))
    with pytest.raises(UsageError, match="has format 1, this version of Thinwire reads 2 and 3"):
        read_sweep_record(other)
    other.write_text(json.dumps({"kind": KIND, "format": 2, "sweep": {}}))
    with pytest.raises(ThinwireError, match=r"is no complete sweep record \(sweep.name: Field required\)"):
        read_sweep_record(other)
    other.write_text("{")
    with pytest.raises(ThinwireError, match=r"other\.json, line 1: no complete JSON"):
        read_sweep_record(other)


def test_a_record_carries_the_hash_of_its_content(published, tmp_path):
    file = tmp_path / "one.json"
    write_sweep_record(file, published)
    text = file.read_text()
    assert json.loads(text)[SEAL] in text.splitlines()[-2]
    last = [place for place, one in enumerate(text[:-90]) if one.isdigit()][-1]
    file.write_text(f"{text[:last]}{9 - int(text[last])}{text[last + 1 :]}")
    for use in (read_sweep_record, lambda path: write_sweep_record(path, published)):
        with pytest.raises(ThinwireError, match=r"one\.json is damaged: its content does not have the hash"):
            use(file)
    content = json.loads(text)
    del content[SEAL]
    file.write_text(json.dumps(content))
    with pytest.raises(ThinwireError, match=r"one\.json is damaged: the hash of its content .* is missing"):
        read_sweep_record(file)


def test_a_record_of_another_format_is_replaced_for_its_sweep_is_published_anew(published, tmp_path):
    file = tmp_path / "one.json"
    for before in ({"kind": KIND, "format": 1}, {"kind": KIND}):
        file.write_text(json.dumps(before))
        write_sweep_record(file, published)
        assert read_sweep_record(file) == published


# The section


def test_the_verdict_comes_first_then_the_origin(published):
    lines = section(published).splitlines()
    assert lines[0].startswith(
        "**LoRA gains: at least significant, the estimate is strong; gain on uncompressed input not"
    )
    assert "+31.2 F1 points" in lines[0]
    assert lines[2:4] == ["| | |", "| --- | --- |"]
    assert lines[4:13] == [
        "| sweep | `phase1a_lora_sweep`: made by hand |",
        "| device | cpu |",
        "| software | thinwire 0.1.0, commit ffffffffffff; torch 2.11.0, Python 3.12.3 |",
        "| model | tiny, revision `0123456789ab` |",
        "| data | 5,000 training questions x 1 epoch; 16 test questions |",
        "| codec | PCA, 144 floats a token |",
        # 49152 x 144 x 2, 1000 x 4 and 83520 x 4 bytes; 49152 x 576 x 2
        "| bytes | codes 14.2 MB, adapter 0.0 MB, codec 0.3 MB; the embedding matrix took 56.6 MB |",
        "| bits a token | float32 code 4,608, bf16 code 2,304, int8 code 1,152, int4 code 576, token id 16, "
        "UTF-8 text 34.5 |",
        "| time | 2026-01-02, 1 h 0 min from start to end |",
    ]
    assert f"\n```bash\n{COMMAND}\n```\n" in section(published)
    assert "```" not in section(published.model_copy(update={"command": None}))


def test_an_arm_has_its_difference_interval_and_share_and_a_control_its_plain_difference(published):
    changed = changed_difference(published, "r16_a32_full", low=0.125, high=0.5, p_adjusted=0.00099)
    found = section(with_row(changed, "r16_a32_full", share_of_ceiling=share(0.6667, 0.5, 0.75)))
    # 5000 = 1000 + 250 x 16; (11 - 6) / 16 = 0.3125
    assert cells(found, "r16_a32_full") == [
        [
            *("**r16_a32_full**", "5,000", "68.8", "62.5", "+31.2 (+12.5 to +50.0)", "0.0010", "significant"),
            *("67 % (50 to 75)", "59.4", "healthy"),
        ],
        [
            *("**r16_a32_full**", "0.812", "0.875", "0.812", "0.250", "93.8 %", "66.7", "100.0 %", "red0, 6.2 %"),
            *("0.0 %", "healthy"),
        ],
    ]
    # (15.5 - 6) / 16 = 0.59375
    assert cells(found, "text_lora")[0][:6] == ["text_lora", "4,000", "96.9", "93.8", "+59.4", "93.8"]
    assert cells(found, "text_lora")[1][1:5] == ["", "", "", ""]  # it reads no codes
    assert cells(found, "baseline")[0][4:7] == ["", "", ""]
    assert cells(found, "broken")[0] == ["broken", "failed", *[""] * 8]
    assert "\nNote: broken failed: ValueError: loss is nan.\n" in found


def test_a_record_of_an_earlier_version_has_no_column_for_rare_rows(published):
    assert "| rare cosine |" in section(published)
    found = section(with_rows(published, (row.model_copy(update={"rare_cosine": None}) for row in published.rows)))
    assert "rare" not in found
    assert cells(found, "r16_a32_full")[1][1:4] == ["0.812", "0.875", "0.250"]


def test_every_line_of_a_table_has_the_cells_of_its_head_whatever_was_answered(published):
    degeneration = row_of(published, "baseline").degeneration
    metrics = degeneration.metrics.model_copy(update={"top_first_word": "|"})
    changed = with_row(published, "baseline", degeneration=degeneration.model_copy(update={"metrics": metrics}))
    changed = with_sweep(changed, description="with | without")
    for text in (section(changed), short_section(changed)):
        for block in text.split("\n\n"):
            lines = [re.sub(r"\\\|", "", line) for line in block.splitlines() if line.startswith("|")]
            assert len({line.count("|") for line in lines}) <= 1, block
    assert r"| \|, 25.0 % |" in section(changed).replace("6.2 %", "25.0 %")


def test_codecs_have_a_table_where_there_are_several_or_one_has_a_warning(published):
    def metric(name, label, value, unit="share"):
        return CodecMetric(name=name, label=label, value=value, unit=unit)

    assert "Codecs:" not in section(published)
    kept = metric("explained_variance", "variance kept", 0.8174)
    pca = published.codecs[0].model_copy(update={"metrics": (kept,)})
    vq = CodecSummary(
        arms=("r4_a8_layers8",),
        label="vq, single",
        code_width=1,
        code_bits=9,
        metrics=(metric("use", "entries in use", 0.4375), metric("perplexity", "perplexity", 101.6, "entries")),
        warnings=("half unused",),
    )
    found = section(published.model_copy(update={"codecs": (pca, vq)}))
    assert "| codec | used by | code | variance kept | entries in use | perplexity |\n" in found
    assert "| vq, single | r4_a8_layers8 | 1 x 9 bits |  | 43.8 % | 102 |\n" in found
    assert "\n| codec | pca" not in found  # no single one to name in the origin
    alone = section(published.model_copy(update={"codecs": (vq,)}))
    assert "| vq, single | r4_a8_layers8 | 1 x 9 bits | 43.8 % | 102 |\n" in alone


def test_with_several_codecs_bytes_and_bits_in_the_origin_name_the_arm_whose_they_are(tmp_path):
    small = {"file": "codec/other.safetensors", "code_width": 3, "code_bits": 27}

    def section_of(folder, **changed):
        records = [changed.get(one.name, one) for one in everything()]
        return section(analyse(read_results(write_run(tmp_path / folder, records))))

    found = section_of("one", r16_a32_full=record("r16_a32_full", codec=small))
    # 49152 x 27 / 8 bytes are 0.2 MB; r16_a32_full is the arm chosen
    assert "\n| bytes (r16_a32_full) | codes 0.2 MB, adapter 0.0 MB, codec 0.3 MB; " in found
    assert "\n| bits a token (r16_a32_full) | code, 3 x 9 bits 27, token id 16, UTF-8 text 34.5 |\n" in found
    chosen = record("r16_a32_full")
    without = chosen.model_copy(update={"results": chosen.done.model_copy(update={"codec": None})})
    found = section_of("two", r16_a32_full=without, r8_a8_layers12=record("r8_a8_layers12", codec=small))
    assert "\n| bytes (baseline) | codes 14.2 MB, " in found  # the arm chosen has no codec: the first that has


def test_a_sweep_of_the_baseline_alone_says_so_and_nothing_that_is_missing(tmp_path):
    alone = analyse(read_results(write_run(tmp_path / "run", [record("baseline")])))
    for text in (section(alone), short_section(alone)):
        assert text.startswith("**Nothing to compare")
        assert not [word for word in ("None", "nan", "Controls", "Holm", "Of the ceiling") if word in text]
        assert "| 37.5 |" in text


def test_several_seeds_are_said(published):
    assert "16 test questions |" in section(published)
    arms = {row.name: {"num_seeds": 3 if row.kind == "arm" and row.score else row.num_seeds} for row in published.rows}
    rows = [row.model_copy(update=arms[row.name]) for row in published.rows]
    found = section(with_rows(published, rows))
    assert "16 test questions; 1 or 3 seeds |" in found  # text_lora has one; what trains nothing does not count
    trained = [row.model_copy(update={"num_seeds": 3}) if row.params and row.score else row for row in rows]
    assert "16 test questions; 3 seeds |" in section(with_rows(published, trained))
    # As earlier versions computed it, a share is of the first seed alone.
    assert "but the share of the ceiling and what is said of the answers are of the first seed (seed 0)." in found
    of_all = (
        row.model_copy(update={"share_of_ceiling": row.share_of_ceiling.model_copy(update={"num_seeds": 3})})
        if row.share_of_ceiling
        else row
        for row in rows
    )
    found = section(with_rows(published, of_all))
    alone = "what is said of the answers is of the first seed (seed 0)."
    assert f"Metrics are means over an arm's seeds, but {alone}" in found
    assert "degeneration of the answers of the first seed (seed 0) (rare: " in found


def test_a_record_names_which_layers_are_adapted(analysis, tmp_path):
    changed = with_row(analysis, "r8_a8_layers12", position="last")
    write_sweep_record(tmp_path / "one.json", changed)
    assert row_of(read_sweep_record(tmp_path / "one.json"), "r8_a8_layers12").position == "last"
    assert row_of(read_sweep_record(tmp_path / "one.json"), "r16_a32_full").position == "first"
    baseline = with_row(changed, "r8_a8_layers12", is_baseline=True)  # so that the short form has it
    assert "| PCA codes, LoRA r8, last 12 layers (the baseline) |" in short_section(baseline)


def test_the_short_form_has_the_chosen_arm_the_baseline_and_the_controls(published):
    found = short_section(published)
    lines = [line for line in found.splitlines() if line.startswith("| ")][2:]
    assert [line.strip("| ").split(" | ")[0] for line in lines] == [
        "text, LoRA r16, all layers (the ceiling)",
        "**PCA codes, LoRA r16, all layers**",
        "text, untrained",
        "PCA codes, no LoRA (the baseline)",
        "PCA codes without adapter, untrained",
    ]
    assert lines[0].endswith("| 96.9 | 93.8 | +59.4 |")
    assert lines[-1].endswith("| 12.5 | 0.0 | -25.0 |")
    assert found.startswith(
        "**LoRA gains: at least significant, the estimate is strong; gain on uncompressed input not"
    )
    assert f"\nLimits of the numbers: {ONE_SEED}; {FIXED}.\n" in found
    assert f", 2026-01-02, commit {'f' * 12}: `{COMMAND}`. F1 and EM in points;" in found


# The command


def test_folder_and_record_give_the_same_section(run, tmp_path, thinwire):
    file = tmp_path / "records" / "mine.json"
    assert thinwire("publish", run, "--record", file, "--command", COMMAND) == (0, f"{file}\n", "")
    assert load(file)["command"] == COMMAND
    assert thinwire("publish", file) == thinwire("publish", run, "--command", COMMAND)
    assert thinwire("publish", file, "--short") == thinwire("publish", run, "--short", "--command", COMMAND)
    assert thinwire("publish", file)[1] == section(read_sweep_record(file))


def test_both_sections_go_into_a_file_under_the_records_name_and_are_replaced(run, tmp_path, thinwire):
    file, page = tmp_path / "mine.json", tmp_path / "results.md"
    page.write_bytes(b"# R\r\n")
    _, out, _ = thinwire("publish", run, "--record", file, "--into", page)
    assert out == f"{file}\n{page}: section results mine added at the end\n"
    assert (
        thinwire("publish", file, "--into", page, "--short")[1]
        == f"{page}: section short results mine added at the end\n"
    )
    once = page.read_bytes()
    assert once.decode() == "# R\r\n\n" + "\n".join(
        f"{BEGIN.format(name=name)}\n{text}{END.format(name=name)}\n"
        for name, text in (
            ("results mine", section(read_sweep_record(file))),
            ("short results mine", short_section(read_sweep_record(file))),
        )
    )
    assert thinwire("publish", file, "--into", page)[1] == f"{page}: section results mine replaced\n"
    assert page.read_bytes() == once


def test_without_a_record_the_section_has_the_sweeps_name(run, tmp_path, thinwire):
    page = tmp_path / "results.md"
    page.write_text("")
    assert "section results phase1a_lora_sweep added" in thinwire("publish", run, "--into", page)[1]


def test_a_command_can_be_added_to_a_record_later(run, tmp_path, thinwire):
    file = tmp_path / "mine.json"
    thinwire("publish", run, "--record", file)
    assert load(file)["command"] is None
    assert thinwire("publish", file, "--record", file, "--command", COMMAND)[0] == 0
    assert load(file)["command"] == COMMAND


def test_the_command_of_a_record_is_kept_when_its_sweep_is_published_anew_and_not_for_another(run, tmp_path, thinwire):
    file = tmp_path / "mine.json"
    thinwire("publish", run, "--record", file, "--command", COMMAND)
    thinwire("publish", run, "--record", file)
    assert load(file)["command"] == COMMAND
    other = write_run(tmp_path / "other", started_at="2026-01-02T03:04:06Z")
    thinwire("publish", other, "--record", file)
    assert load(file)["command"] is None


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        ({"sweep": {"started_at": "2026-01-02T03:04:05Z"}, "command": COMMAND}, COMMAND),
        ({"sweep": {"started_at": "2026-01-02T03:04:06Z"}, "command": COMMAND}, None),  # another sweep
        ({"sweep": {"started_at": "2026-01-02T03:04:05Z"}}, None),
        ({"sweep": "the first", "command": COMMAND}, None),  # whose sweep it was cannot be told
    ],
)
def test_publishing_anew_over_another_format_keeps_the_command_where_it_was_the_same_sweeps(
    before, kept, run, tmp_path, thinwire
):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"kind": KIND, "format": 1, **before}))
    assert thinwire("publish", run, "--record", file) == (0, f"{file}\n", "")
    assert load(file)["command"] == kept
    assert load(file)["format"] == FORMAT


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        ("nowhere", [], "expected the folder of a finished sweep, or a sweep record"),
        (".", [], "is no sweep's folder: it has no sweep.json"),
        ("other.json", [], "(kind None, expected 'thinwire sweep record')"),
        ("run", ["--record", "other.json"], "is no sweep record"),
        ("run", ["--record", "new.json", "--short"], "add --into FILE.md"),
        ("run", ["--into", "missing.md"], "no file missing.md to put the section into"),
        ("run", ["--record", "new.json", "--into", "missing.md"], "no file missing.md to put the section into"),
        ("run", ["--record", "new.json", "--into", "broken.md"], "broken.md must hold"),
        ("run", ["--record", "other.json", "--into", "empty.md"], "is no sweep record"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(source, options, expected, run, tmp_path, monkeypatch, thinwire):
    monkeypatch.chdir(tmp_path)
    before = {"other.json": '{"date": "2026-11-22"}', "broken.md": BEGIN.format(name="results new"), "empty.md": ""}
    for name, text in before.items():
        Path(name).write_text(text)
    code, out, err = thinwire("publish", run if source == "run" else source, *options)
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert expected in err
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == before


# This repository's own results


def records():
    """The sweep records in docs/results/records; the record of the calibration benchmark is none."""
    return [file for file in sorted(RECORDS.glob("*.json")) if load(file).get("kind") == KIND]


def block(document, name):
    """What a document has between the markers of ``name``; None where it has no such section."""
    begin, end = (mark.format(name=name) for mark in (BEGIN, END))
    _, found, rest = document.read_text(encoding="utf-8").partition(f"{begin}\n")
    return rest.partition(end)[0] if found else None


def test_a_section_that_is_published_with_its_record_is_the_records(tmp_path, thinwire):
    run, file, page = write_run(tmp_path / "run"), tmp_path / "mine.json", tmp_path / "page.md"
    page.write_text("# Results\n", encoding="utf-8")
    # 18.349999 points are 18.3; the record's six digits make them 18.35, which is 18.4.
    edit_answers(run / "baseline", lambda row: {**row, "exact_match": 0.1834999999})
    thinwire("publish", run, "--record", file, "--into", page)
    assert block(page, "results mine") == section(read_sweep_record(file))
    assert "| 18.4 |" in block(page, "results mine")


def test_there_is_a_record_of_the_plans_sweep():
    assert RECORDS / "phase1a_lora.json" in records()


@pytest.mark.parametrize("file", records(), ids=lambda file: file.stem)
def test_the_results_page_shows_each_record_as_it_is(file):
    shown = {page: found for page in RESULTS.glob("*.md") if (found := block(page, f"results {file.stem}")) is not None}
    assert len(shown) == 1, f"pages with a section for {file.name}: {sorted(page.name for page in shown)}"
    page, found = next(iter(shown.items()))
    record = f"docs/results/records/{file.name}"
    assert found == section(read_sweep_record(file)), (
        f"docs/results/{page.name} differs from {record}: "
        f"run `thinwire publish {record} --into docs/results/{page.name}`"
    )


def test_the_readme_shows_the_record_that_it_names_as_it_is():
    readme = ROOT / "README.md"
    named = re.findall(r"<!-- thinwire: begin short results (\w+) -->", readme.read_text(encoding="utf-8"))
    assert named
    for name in named:
        assert block(readme, f"short results {name}") == short_section(read_sweep_record(RECORDS / f"{name}.json")), (
            f"README.md differs from docs/results/records/{name}.json: "
            f"run `thinwire publish docs/results/records/{name}.json --short --into README.md`"
        )


@pytest.mark.parametrize("file", records(), ids=lambda file: file.stem)
def test_a_committed_record_is_small_and_as_the_command_writes_it(file):
    record = read_sweep_record(file)
    parts = 1_500 * len(record.rows) + 1_000 * len(record.interactions) + 500 * len(record.codecs)
    assert file.stat().st_size < 6_000 + parts
    assert file.read_text(encoding="utf-8") == as_text(record)


CHARTS = sorted((ROOT / "docs" / "images").glob("*/*.svg"))


@pytest.mark.parametrize("stem", sorted({chart.parent.name for chart in CHARTS}))
def test_the_charts_in_the_docs_are_drawn_from_their_records(stem, tmp_path):
    charts = [chart for chart in CHARTS if chart.parent.name == stem]
    write_figures(read_sweep_record(RECORDS / f"{stem}.json"), NO_SERIES, tmp_path, ("svg",))
    pages = "".join(page.read_text(encoding="utf-8") for page in RESULTS.glob("*.md"))
    for chart in charts:
        assert f"](../images/{stem}/{chart.name})" in pages
        assert chart.read_bytes() == (tmp_path / chart.name).read_bytes(), (
            f"draw it again: thinwire plot docs/results/records/{stem}.json -o docs/images/{stem} --format svg"
        )


def test_arms_of_different_sizes_say_what_they_take_for_the_matrix_and_a_token(published):
    text = section(published)
    assert "MB for the matrix" not in text, "all arms take the same"
    assert "| bits a token |" not in text.replace("\n| bits a token |", ""), "the origin alone has it"
    changed = with_row(published, "r16_a32_full", matrix_bytes=7_250_000)
    text = section(changed)
    assert cells(text, "r16_a32_full")[0][8:10] == ["7.2", "59.4"]
    assert heads(text)[8:10] == ["MB for the matrix", "selection F1"]
    changed = with_row(changed, "r16_a32_full", code_bits=1152)
    text = section(with_row(changed, "r8_a8_layers12", code_bits=None))  # its input is text, say
    assert cells(text, "r16_a32_full")[0][8:11] == ["7.2", "1,152", "59.4"]
    assert cells(text, "baseline")[0][9] == "2,304"  # 144 floats of 2 bytes
    assert cells(text, "r8_a8_layers12")[0][9] == ""
    assert heads(text)[8:11] == ["MB for the matrix", "bits a token", "selection F1"]


def heads(text):
    """The heads of the table of arms."""
    line = next(line for line in text.splitlines() if line.startswith("| configuration | trained"))
    return line.strip("| ").split(" | ")
