from small_analysis import example, rows
from sweep_folder import failed, record
from thinwire.tracking.rows import flat, logged_rows, results_of, verdict_columns, verdict_markdown, verdict_rows
from tracked_runs import SCALARS, diagnostics


def by_tag(rows):
    found = {}
    for row in rows:
        for tag, value in row.scalars.items():
            found.setdefault(tag, []).append((row.step, value))
    return found


def test_steps_are_training_scalars_and_evaluations_come_at_the_last_step(tmp_path):
    assert by_tag(logged_rows("a", diagnostics(tmp_path, record("r16_a32_full")))) == SCALARS


def test_an_evaluation_without_training_is_at_step_zero_and_what_is_missing_is_no_scalar(tmp_path):
    assert by_tag(logged_rows("a", diagnostics(tmp_path, record("codec_only")))) == {
        "selection/text_f1": [(0, 0.125)],
        "selection/text_em": [(0, 0.125)],
        "test/test_f1": [(0, 0.125)],
        "test/test_em": [(0, 0.0)],
    }


def test_text_and_odd_characters_do_not_get_into_scalars_and_tags():
    (row,) = logged_rows("a", [{"event": "step", "step": 4, "a b": 1, "note": "x", "none": None}])
    assert (row.step, row.scalars) == (4, {"train/a_b": 1.0})


def test_nested_settings_are_flat_by_their_paths():
    assert flat({"lora": {"rank": 2, "deep": {"x": None}}, "input": "text"}) == {
        "lora.rank": 2,
        "lora.deep.x": None,
        "input": "text",
    }


def test_an_arm_that_is_not_done_has_no_results():
    assert results_of(failed("broken")) == {}
    # 10 right and 2 half of 16, 10 of 16 exact
    found = {"selection_score": 0.59375, "selection_em": 0.125, "test_f1": 0.6875, "test_em": 0.625}
    assert results_of(record("r16_a32_full")) == found


def test_the_verdict_table_has_a_row_for_each_arm_and_control():
    table = verdict_rows(example())
    assert [row[0] for row in table] == [row.name for row in rows()]
    assert {len(row) for row in table} == {len(verdict_columns(example().task))}
    text = verdict_markdown(example())
    assert text.startswith(example().verdict.headline)
    assert text.count("\n| ") == 2 + len(table)
