"""Report runs that were made by hand to trackers, as a sweep does while it runs."""

from sweep_folder import everything, folder_of, record, write_diagnostics, write_run
from thinwire.files import append_jsonl, make_folder
from thinwire.reading import read_jsonl
from thinwire.report.write import REPORT_FILES, write_reports
from thinwire.results.layout import DIAGNOSTICS_FILE
from thinwire.results.read import read_results
from thinwire.tracking.table import TRACKERS
from thinwire.tracking.tracker import TrackedSweep
from thinwire.tracking.trackers import Trackers

SCALARS = {
    # 1 / step; TensorBoard keeps single precision
    "train/loss": [(1, 1.0), (2, 0.5), (3, 1 / 3)],
    "train/cosine": [(1, 0.8125), (2, 0.875), (3, 0.9375)],  # 0.75 + step / 16
    "train/relative_mse": [(1, 0.5), (2, 0.5), (3, 0.5)],
    "train/ce": [(1, 4.0), (2, 2.0), (3, 4 / 3)],
    "train/lr_adapter": [(1, 0.001), (2, 0.001), (3, 0.001)],
    "train/grad_norm_adapter": [(1, 0.5), (2, 0.5), (3, 0.5)],
    "train/grad_norm_lora": [(1, 0.125), (2, 0.25), (3, 0.375)],
    "train/tokens_per_second": [(1, 1000.0), (2, 1000.0), (3, 1000.0)],
    "selection/text_f1": [(3, 0.59375)],
    "selection/text_em": [(3, 0.125)],
    "test/test_f1": [(3, 0.6875)],
    "test/test_em": [(3, 0.625)],
}
"""Step and value, by tag, of what ``write_diagnostics`` writes of the arm ``r16_a32_full``."""


def trackers(run, *names, table=TRACKERS):
    """Make the trackers of a sweep in the folder ``run``."""
    return Trackers(names, TrackedSweep(name="phase1a_lora_sweep", folder=run), table)


def begin(told, run, one):
    """Tell that the training of a record begins, or goes on after what its diagnostics hold."""
    told.arm_started(one.name, one.kind, folder_of(run, one), one.config, one.started_at)


def diagnostics(tmp_path, one):
    """Return the lines that the training of a record logs."""
    other = tmp_path / "lines"
    other.mkdir()
    write_diagnostics(other, one)
    return read_jsonl(other / "diagnostics.jsonl")


def report_interrupted(run, tmp_path, *names):
    """Report an arm that is stopped after three lines, and goes on after the second, where its resume point was."""
    one = record("r16_a32_full")
    rows = diagnostics(tmp_path, one)
    with trackers(run, *names) as told:
        begin(told, run, one)
        for row in rows[:3]:
            told.logged(one.name, row)
        told.arm_ended(one.model_copy(update={"status": "cancelled", "results": None}))
    make_folder(folder_of(run, one))
    for row in rows[:2]:
        append_jsonl(folder_of(run, one) / DIAGNOSTICS_FILE, row)
    with trackers(run, *names) as told:
        begin(told, run, one)
        for row in rows[2:]:
            told.logged(one.name, row)
        told.arm_ended(one)


def report_sweep(run, *names):
    """Report a whole sweep made by hand; returns its analysis."""
    write_run(run)
    analysis = write_reports(read_results(run))
    with trackers(run, *names) as told:
        for one in everything():
            if one.status == "done":
                told.arm_was_done(one, folder_of(run, one))
        told.sweep_ended(analysis, [run / name for name in REPORT_FILES])
    return analysis
