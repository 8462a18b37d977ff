import pytest

from small_analysis import difference, example, row, with_row, with_rows, with_sweep, with_verdict
from sweep_folder import write_run
from thinwire.errors import UsageError
from thinwire.report.analysis import analyse
from thinwire.report.markdown.insert import BEGIN, END, insert
from thinwire.report.markdown.report_section import section
from thinwire.results.read import read_results

# The section


def test_the_section_has_its_parts_in_order():
    text = section(example())
    parts = ["### 2.9 LoRA\n", "**Motivation**: Can LoRA help?\n", "**Design**: ", "**Results**:\n"]
    parts += ["| configuration |", "Controls:\n", "**Lesson Learned**: ", "**Next steps**:\n"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.startswith(parts[0])
    assert text.endswith(".\n")
    assert not text.endswith("\n\n")


def test_an_experiment_without_words_of_its_own_has_its_name_as_heading_and_no_motivation():
    text = section(with_verdict(with_sweep(example(), heading=None, motivation=None), next_steps=()))
    assert text.startswith("### phase1a_lora_sweep\n\n**Design**: ")
    assert "Motivation" not in text
    assert "steps" not in text


def test_the_results_are_the_baseline_the_best_arm_its_gain_and_its_share_of_the_ceiling():
    text = section(example())
    assert "- Baseline (no LoRA): 25.0% F1 (25.0 against 15.6 for text)\n" in text
    # 0.375 - 0.25 = 12.5 points, 3.125 to either side; 0.375 of the ceiling's 0.5 is 75 %
    assert (
        "- Best LoRA (r=16, \u03b1=32, layers=all): 37.5% F1 (\u0394=+12.5%, +9.4 to +15.6)\n"
        "- Share of the ceiling (0 = codec only, 100 % = text + LoRA): 75% (69% to 81%)\n"
        "- Answers: healthy"
    ) in text


def test_the_table_has_a_line_for_every_arm_best_f1_first_and_failures_last():
    text = section(example())
    arms, controls = text.split("Controls:\n\n")
    lines = [line for line in arms.splitlines() if line.startswith("| ")][2:]
    assert lines == [
        "| **r16_a32_full** | 5,000 | 37.5 | 18.8 | +12.5 (+9.4 to +15.6) | 0.0125 | significant | healthy |",
        "| r8_a32_layers12 | 3,000 | 32.8 | 16.4 | +7.8 (+4.7 to +10.9) | 0.0125 | significant | healthy |",
        "| r8_a8_layers12 | 3,000 | 31.2 | 15.6 | +6.2 (+3.1 to +9.4) | 0.0125 | significant | healthy |",
        "| r4_a8_layers8 | 2,000 | 28.1 | 14.1 | +3.1 (+0.0 to +6.2) | 0.0125 | unresolved | healthy |",
        "| baseline | 1,000 | 25.0 | 12.5 |  |  |  | healthy |",
        "| r64_a64_full | failed | | | | | | |",
    ]
    lines = [line for line in controls.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0] for line in lines] == ["| text_lora", "| text_zero_shot", "| codec_only"]


def test_every_line_of_a_table_has_as_many_cells_as_its_head():
    lines = [line for line in section(example()).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {9}


def test_the_lesson_is_headline_and_sentence_and_the_steps_are_numbered():
    text = section(with_verdict(example(), next_steps_if_confirmed=("Then do this",)))
    assert "**Lesson Learned**: LoRA gains: at least significant. The chosen arm gains 12.5 points.\n" in text
    assert "**Next steps**:\n\n1. Use best LoRA config as baseline\n2. Update REPORT.md\n" in text
    assert "If that confirms the estimate:\n\n1. Then do this\n" in text
    assert "If that confirms" not in section(example())


def test_a_sweep_that_is_not_about_lora_names_its_arms():
    text = section(with_verdict(example(), about_lora=False))
    assert "- Baseline (baseline): 25.0% F1" in text
    assert "- Best arm (r16_a32_full): 37.5% F1" in text


def test_the_source_names_sweep_time_version_and_commit():
    said = f"Source: `phase1a_lora_sweep`, finished 2026-01-02T04:04:05Z, thinwire 0.1.0, commit {'f' * 40}.\n"
    assert section(example()).endswith(said)
    environment = example().sweep.environment.model_copy(update={"git_commit": None})
    assert section(with_sweep(example(), environment=environment)).endswith("thinwire 0.1.0, commit unknown.\n")


def test_what_is_missing_is_left_out_and_never_written_as_none():
    found = with_verdict(example(), judged_by=None, best="baseline", next_steps=())
    found = with_rows(found, [row("baseline", 0.25, is_baseline=True, best=True, share_of_ceiling=None)])
    text = section(found.model_copy(update={"notes": ()}))
    for word in ("None", "nan", "Controls:", "Next steps", "Note:", "Share of the ceiling"):
        assert word not in text
    assert "25.0% F1" in text


def test_a_difference_without_an_interval_says_why():
    found = with_row(example(), "r16_a32_full", score_difference=difference(0.125))
    assert "(\u0394=+12.5%, one question)" in section(found)


# Into a report


TEXT = "### 2.9\n\nnumbers\n"
BLOCK = f"{BEGIN.format(name='one')}\n{TEXT}{END.format(name='one')}"


@pytest.fixture
def report(tmp_path):
    return tmp_path / "REPORT.md"


def test_a_section_is_added_after_a_blank_line_at_the_end(report):
    for before, between in (("", ""), ("# R", "\n\n"), ("# R\n", "\n"), ("# R\n\n", "")):
        report.write_bytes(before.encode())
        assert insert(report, "one", TEXT) is False
        assert report.read_bytes() == f"{before}{between}{BLOCK}\n".encode()


def test_a_section_is_replaced_and_never_there_twice(report):
    report.write_bytes(b"# R\n")
    insert(report, "one", "old\n")
    assert insert(report, "one", TEXT) is True
    once = report.read_bytes()
    assert once == f"# R\n\n{BLOCK}\n".encode()
    assert insert(report, "one", TEXT) is True
    assert report.read_bytes() == once


def test_bytes_outside_of_the_markers_stay_as_they_are(report):
    head = "\ufeff# R\u00e9sum\u00e9\r\n\r\n\tone \u2028 two \x0c\r\nlone \r return\n".encode()
    tail = b"\r\n\r\nafter   \r\nno end of line \xf0\x9f\x93\x88"
    report.write_bytes(head + BLOCK.encode() + tail)
    assert insert(report, "one", "new\n") is True
    begin, end = BEGIN.format(name="one").encode(), END.format(name="one").encode()
    assert report.read_bytes() == head + begin + b"\nnew\n" + end + tail


def test_a_file_with_windows_line_ends_keeps_them_when_a_section_is_added(report):
    report.write_bytes(b"# R\r\n\r\ntext\r\n")
    insert(report, "one", TEXT)
    assert report.read_bytes() == b"# R\r\n\r\ntext\r\n\n" + BLOCK.encode() + b"\n"


def test_the_files_mode_is_kept(report):
    report.write_text("# R\n")
    report.chmod(0o640)
    insert(report, "one", TEXT)
    assert report.stat().st_mode & 0o777 == 0o640


def test_two_sweeps_each_have_their_own_section(report):
    report.write_text("# R\n")
    insert(report, "one", "first\n")
    insert(report, "one_more", "second\n")  # a name that begins with the other
    assert insert(report, "one", "third\n") is True
    text = report.read_text()
    assert "first" not in text
    one, more = BEGIN.format(name="one"), BEGIN.format(name="one_more")
    assert text == (f"# R\n\n{one}\nthird\n{END.format(name='one')}\n\n{more}\nsecond\n{END.format(name='one_more')}\n")


B, E = BEGIN.format(name="one"), END.format(name="one")


@pytest.mark.parametrize(
    "broken",
    [
        f"{B}\ntext\n",
        f"text\n{E}\n",
        f"{E}\ntext\n{B}\n",
        f"{B}\n{E}\n{B}\n{E}\n",
        f"{B}\n{B}\n{E}\n",
        f"{B}\n{E}\n{E}\n",
        f"{E}\n{B}\n{E}\n",
    ],
    ids=["no end", "no begin", "turned round", "twice", "begins twice", "ends twice", "ends before and after"],
)
def test_markers_that_are_not_one_pair_in_order_are_refused_and_nothing_is_written(report, broken):
    report.write_text(broken)
    with pytest.raises(UsageError, match="once each; mend or remove them"):
        insert(report, "one", TEXT)
    assert report.read_text() == broken


def test_a_file_that_is_missing_or_a_folder_is_refused_and_not_made(report, tmp_path):
    for path in (report, tmp_path):
        with pytest.raises(UsageError, match=r"no file .* to put the section into"):
            insert(path, "one", TEXT)
    assert not report.exists()


def test_a_file_that_is_no_utf_8_is_refused_and_left_alone(report):
    report.write_bytes(b"R\xe9sum\xe9\n")
    with pytest.raises(UsageError, match="UTF-8"):
        insert(report, "one", TEXT)
    assert report.read_bytes() == b"R\xe9sum\xe9\n"


def test_the_section_of_a_real_folder_can_be_put_into_a_report_twice(report, tmp_path):
    found = analyse(read_results(write_run(tmp_path / "run")))
    report.write_text("# R\n")
    insert(report, "phase1a_lora_sweep", section(found))
    once = report.read_text(encoding="utf-8")
    assert "- Best LoRA (r=16, \u03b1=32, layers=all): 68.8% F1 (\u0394=+31.2%, " in once
    assert insert(report, "phase1a_lora_sweep", section(found)) is True
    assert report.read_text(encoding="utf-8") == once
