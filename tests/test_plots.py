import re
import sys

import pytest

from report_example import example, rates, series, study
from thinwire.errors import UsageError
from thinwire.report import plots
from thinwire.report.figures import data, sizes
from thinwire.report.series import NO_SERIES

NAMES = ["differences", "standings", "parameters", "rank_layers", "training", "frequency", "wire"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from thinwire.report.plots import write_plots

    folder = tmp_path_factory.mktemp("run") / "plots"
    files = write_plots(example(), series(), folder)
    assert files == [folder / f"{name}.{suffix}" for name in NAMES for suffix in ("svg", "png")]
    return folder


def words(path):
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


def test_png_files_are_large_enough_to_print(folder):
    for name in NAMES:
        head = (folder / f"{name}.png").read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        width = int.from_bytes(head[16:20], "big")
        assert width >= 900  # 4.5 inches at 200 dots


def test_axes_are_named_with_units(folder):
    expected = {
        "differences": "difference in F1 to the baseline (points), simultaneous 95 % intervals",
        "standings": "F1 on the test questions (points)",
        "parameters": "trainable parameters, adapter and LoRA",
        "rank_layers": "LoRA rank",
        "training": "training step",
        "frequency": "share of tokens (%)",
        "wire": "bits a token (logarithmic)",
    }
    for name, axis in expected.items():
        assert axis in words(folder / f"{name}.svg"), name


def test_the_plots_show_the_figures_of_the_page(folder):
    assert {"+2.0", "+5.0", "+10.0", "ceiling +25.0", "r16_a32_full"} <= set(words(folder / "differences.svg"))
    assert {"50.0", "37.5", "25.0", "15.6", "3.1"} <= set(words(folder / "standings.svg"))
    assert {f"{data.ALPHA}8   31.2", f"{data.ALPHA}32   37.5"} <= set(words(folder / "rank_layers.svg"))
    assert {"2,304", "16", "34.5"} <= set(words(folder / "wire.svg"))


def test_arms_that_differ_in_more_than_lora_have_the_figures_of_their_settings(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from thinwire.report.plots import write_plots

    files = write_plots(study(), NO_SERIES, tmp_path, formats=("svg",))
    names = ["differences", "standings", "ladder", "parameters", "bytes", "bits", "by_codec_ratio"]
    assert [path.stem for path in files] == [*names, "by_supervision_ce_weight", "wire"]
    said = {path.stem: set(words(path)) for path in files}
    assert {"lora.rank 16", "prompt.style plain", "start 25.0", "several changes at once"} <= said["ladder"]
    assert {"ratio 2 (best)", "ratio 4 (baseline)", "no LoRA", "original table", "ceiling"} <= said["bytes"]
    assert {"bits a token's code takes", "ratio 2 (best)", "no LoRA"} <= said["bits"]
    both = {"difference in F1 to the baseline (points)", "cosine of rebuilt and true embeddings"}
    assert both <= said["by_codec_ratio"]
    assert said["by_supervision_ce_weight"] & both == {"difference in F1 to the baseline (points)"}
    assert {"0", "0.0625", "0.5", "1"} <= said["by_supervision_ce_weight"]


def test_an_arm_of_several_lines_is_plotted_on_all_of_them_and_marked_once():
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed").Figure()
    (found,) = sizes.tradeoffs(data.complete(rates()))
    plots._tradeoff(figure, found)
    (axes,) = figure.axes
    lines = [(list(line.get_xdata()), line.get_markevery()) for line in axes.lines]
    assert lines == [([1000, 2000, 3000, 5000], [False, True, True, True])] * 2
    assert [collection.get_offsets().tolist() for collection in axes.collections] == [[[1000, 25]]]


def test_the_same_data_make_the_same_file(folder, tmp_path):
    from thinwire.report.plots import write_plots

    for path in write_plots(example(), series(), tmp_path, formats=("svg",)):
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_what_has_no_data_has_no_file(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from thinwire.report.plots import write_plots

    analysis = {**example(), "rows": example()["rows"][5:6], "bytes": None}
    assert write_plots(analysis, NO_SERIES, tmp_path) == []


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    from thinwire.report.plots import write_plots

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'thinwire\[plots\]'"):
        write_plots(example(), series(), tmp_path)
