import re
import sys
from xml.etree import ElementTree

import pytest

from small_analysis import example, only, series, study
from thinwire.errors import UsageError
from thinwire.report.figures.data import rows
from thinwire.report.figures.files import every_figure, write_figures
from thinwire.report.figures.svg import palette
from thinwire.report.series import NO_SERIES

CURVES = [f"training_{name}" for name in ("loss", "cosine", "ce", "grad_norm_adapter", "grad_norm_lora")]
NAMES = ["standings", "differences", "parameters", "rank_layers", *CURVES, "frequency", "wire"]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    folder = tmp_path_factory.mktemp("run") / "figures"
    files = write_figures(example(), series(), folder, ("svg", "png", "pdf"))
    assert files == [folder / f"{name}.{suffix}" for name in NAMES for suffix in ("svg", "png", "pdf")]
    return folder


def words(path):
    return re.findall(r"<text[^>]*>(?:<title>[^<]*</title>)?([^<]*)</text>", path.read_text(encoding="utf-8"))


def test_png_files_have_two_pixels_for_one_of_the_svg(folder):
    for name in NAMES:
        head = (folder / f"{name}.png").read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        drawn = ElementTree.parse(folder / f"{name}.svg").getroot()  # noqa: S314 - our own file
        width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        assert (width, height) == pytest.approx([2 * float(drawn.get(key)) for key in ("width", "height")], abs=2)


def test_pdf_files_hold_their_fonts(folder):
    for name in NAMES:
        content = (folder / f"{name}.pdf").read_bytes()
        assert content.startswith(b"%PDF")
        assert b"LiberationSans" in content  # text stays text


@pytest.mark.parametrize("name", NAMES)
def test_svg_files_stand_alone(folder, name):
    text = (folder / f"{name}.svg").read_text(encoding="utf-8")
    drawn = ElementTree.fromstring(text)  # noqa: S314 - our own file
    assert drawn.tag == f"{SVG}svg"
    assert "Liberation Sans" in drawn.get("font-family")
    assert "var(--" not in text
    assert palette.LIGHT["ink"] in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert len(drawn.findtext(f"{SVG}desc")) > 20
    # Every class of an element has a style, or is a name that marks a kind of text.
    used = {css for found in drawn.iter() for css in (found.get("class") or "").split()}
    assert used - set(re.findall(r"\.([a-z]\w*)", text.split("</style>")[0])) <= {"label", "value", "key"}


def test_title_and_caption_stand_above_the_drawing(folder):
    title, *caption = words(folder / "differences.svg")[:3]
    assert title == "F1 of each arm against the baseline"
    assert caption[0].startswith("Thin lines: 95 % intervals that hold for all arms at once;")
    assert "Dashed: baseline. Blue: r16_a32_full. Grey: the other arms." in " ".join(
        words(folder / "training_ce.svg")[:3]
    )


def test_files_show_what_the_page_shows(folder):
    assert {"+2.0", "+5.0", "+10.0", "ceiling +25.0", "r16_a32_full"} <= set(words(folder / "differences.svg"))
    assert {"50.0", "37.5", "25.0", "15.6", "3.1"} <= set(words(folder / "standings.svg"))
    assert {f"{rows.ALPHA}8", "31.2", f"{rows.ALPHA}32", "37.5"} <= set(words(folder / "rank_layers.svg"))
    assert {"2,304", "16", "34.5"} <= set(words(folder / "wire.svg"))
    for figure in every_figure(example(), series()):
        text = (folder / f"{figure.name}.svg").read_text(encoding="utf-8").replace("\n", "")
        assert figure.draw(figure.width).markup in text, figure.name


def test_arms_that_differ_in_more_than_lora_have_the_figures_of_their_settings(tmp_path):
    files = write_figures(study(), NO_SERIES, tmp_path, formats=("svg",))
    names = ["standings", "differences", "ladder", "parameters", "bytes", "bits", "by_codec_ratio"]
    assert [path.stem for path in files] == [*names, "by_supervision_ce_weight", "wire"]
    said = {path.stem: set(words(path)) for path in files}
    assert {"lora.rank 16", "prompt.style plain", "start 25.0", "several changes at once"} <= said["ladder"]
    assert {"ratio 2 (best)", "ratio 4 (baseline)", "no LoRA", "original matrix", "ceiling 50.0"} <= said["bytes"]
    both = {"difference in F1 to the baseline (points)", "cosine of rebuilt and true embeddings"}
    assert both <= said["by_codec_ratio"]
    assert said["by_supervision_ce_weight"] & both == {"difference in F1 to the baseline (points)"}


def test_the_same_data_make_the_same_svg_and_png(folder, tmp_path):
    for path in write_figures(example(), series(), tmp_path, ("svg", "png")):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_what_has_no_data_has_no_file(tmp_path):
    analysis = only(example(), "r64_a64_full").model_copy(update={"bytes": None})
    assert write_figures(analysis, NO_SERIES, tmp_path, ("svg",)) == []


def test_svg_needs_no_converter_and_the_error_of_the_others_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    assert write_figures(example(), series(), tmp_path / "svg", ("svg",))
    for suffix in ("png", "pdf"):
        with pytest.raises(UsageError, match=rf"--format {suffix} needs .* pip install 'thinwire\[plots\]'"):
            write_figures(example(), series(), tmp_path / suffix, ("svg", suffix))
        assert not (tmp_path / suffix).exists()
