"""``sweep_summary.txt``: the plan's summary file, made from the records of a sweep."""

from __future__ import annotations

from pathlib import Path

from thinwire.records import read_json
from thinwire.report.compare import best_arm, format_table, load_rows, sort_rows


def summary_text(run: Path) -> str:
    """The summary of a sweep's folder: what was run, a row for each arm and control, and the arm chosen."""
    sweep = read_json(run / "sweep.json")
    rows = load_rows(run)
    arms = [row for row in rows if row["kind"] == "arm"]
    controls = [row for row in rows if row["kind"] == "control"]
    environment = sweep["environment"]
    commit = (environment["git_commit"] or "unknown")[:12] + (" with changes" if environment["git_dirty"] else "")
    num_test = sorted({row["n"] for row in rows if row["n"]})
    lines = [
        f"{sweep['name']}: {sweep['description']}",
        "",
        f"model    {sweep['model']['name']} ({sweep['model']['revision'][:12]})",
        f"data     {sweep['samples']:,} training questions x {sweep['epochs']} epochs; scored on "
        f"{' or '.join(f'{n:,}' for n in num_test) or 'no'} test questions",
        f"made by  thinwire {environment['thinwire']}, commit {commit}, on {environment['device']}, "
        f"{sweep['started_at']}",
        "",
        format_table(sort_rows(arms, "f1")) if arms else "No arm was run.",
    ]
    if controls:
        lines += ["", "Controls", format_table(sort_rows(controls, "f1"))]
    lines += [
        "",
        "F1 and EM: test questions, official SQuAD metric on the first line of the answer, in points.",
        "vs base: difference in F1 to the baseline arm. sel F1: on held-out training articles; chooses",
        "epoch and arm. cosine: of reconstructed and true embeddings, weighted by use. trained: parameters.",
        "distinct: share of different answers. min: minutes in all.",
    ]
    best = best_arm(rows)
    if best is not None:
        line = f"Best arm, chosen on the selection split (*): {best['name']}, F1 {100 * best['f1']:.1f}"
        if best["difference"] is not None:
            line += f", {100 * best['difference']:+.1f} to the baseline"
        lines += ["", line + "."]
    for row in rows:
        if row["status"] != "done":
            lines += ["", f"{row['name']} {row['status']}: {row['error']}"]
    return "\n".join(lines) + "\n"
