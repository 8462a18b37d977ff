import base64
import hashlib
import json
import math
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from small_analysis import (
    HOSTILE,
    big_series,
    difference,
    example,
    only,
    series,
    study,
    with_each,
    with_row,
    with_verdict,
    without,
)
from thinwire.report import formatting as numbers
from thinwire.report.analysis_record import CodecSummary
from thinwire.report.figures.svg import palette
from thinwire.report.html import embed, markup
from thinwire.report.html import page as html
from thinwire.report.series import NO_SERIES

VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Elements with their attributes, cells by row, the inlined data, and whether all tags close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.cells, self.texts, self.data = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append({**dict(attrs), "text": ""})

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag, f"</{tag}> closes nothing"

    def handle_data(self, text):
        if any(tag in ("td", "th") for tag, _ in self.open):
            self.cells[-1]["text"] += text
        if self.open and self.open[-1][1].get("id") == "question-data":
            self.data += text
        elif self.open and self.open[-1][0] not in ("script", "style"):
            self.texts.append(text)

    @property
    def visible(self):
        return "\n".join(self.texts)


@pytest.fixture(scope="module")
def text():
    return html.render(example(), series())


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


# The page


def test_the_page_is_well_formed_and_no_name_is_used_twice(text, page):
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for tag, attributes in page.elements if tag == "a"}
    assert links <= set(ids)
    labels = [attributes["aria-describedby"] for tag, attributes in page.elements if tag == "svg"]
    assert set(labels) <= set(ids)


def test_every_figure_has_a_title_and_a_text_alternative(text, page):
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(drawings) == 14  # 3 in two widths, rank and layers, 5 metrics, frequency, wire: 6 + 1 + 5 + 1 + 1
    assert all(attributes["aria-label"] and attributes["role"] == "img" for attributes in drawings)
    assert all(len(words) > 20 for words in re.findall(r"<desc[^>]*>([^<]*)</desc>", text))


def test_which_figures_there_are_follows_from_what_differs_between_the_arms(page):
    def drawn(of_page):
        names = [attributes["id"].rsplit("-", 1)[0] for tag, attributes in of_page.elements if tag == "svg"]
        return list(dict.fromkeys(name for name in names if not name.startswith(("training", "frequency", "wire"))))

    assert drawn(page) == ["standings", "differences", "parameters", "rank_layers"]
    of_study = Page(html.render(study(), series()))
    assert of_study.open == []
    by_settings = ["ladder", "by_codec_ratio", "parameters", "bytes", "bits"]
    assert drawn(of_study) == ["standings", "differences", *by_settings, "by_supervision_ce_weight"]
    ids = [attributes["id"] for _, attributes in of_study.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "All with style auto, k tokens 4, ce weight 0.0625." in of_study.visible


def test_the_page_asks_for_nothing_and_runs_nothing_but_its_own_script(text, page):
    addresses = set(re.findall(r"""(?:https?:)?//[^\s"'<>)]+""", text.split("question-data")[0]))
    assert {a for a in addresses if not a.startswith("//")} == {"http://www.w3.org/2000/svg"}  # a name, not an address
    for tag, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on")}, tag
        assert "style" not in attributes, tag
        assert attributes.get("src") is None
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for name in ("style", "script"):
        (code,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy


def test_the_verdict_comes_first_in_words_and_in_numbers(text, page):
    body = text.split("<main>")[1]
    first = body.split("</header>")[0]
    assert first.index("<h1>LoRA gains: at least significant</h1>") < first.index('class="numbers"')
    visible = re.sub(r"<[^>]+>", "", first)
    assert "+12.5 F1 95 % [+9.4, +15.6]" in visible  # 0.125 and 0.03125 to either side
    assert "r16_a32_full 37.5 against 25.0" in visible
    assert "observed strong, supported significant" in visible
    # 0.375 / 0.5, and 0.0625 to either side
    assert "75 % of the ceiling (0 = codec only, 100 % = text + LoRA), 69 % to 81 %" in visible
    assert "The chosen arm gains 12.5 points." in visible


def test_arms_without_a_result_are_named_with_their_reason(text, page):
    assert "r64_a64_full" in text.split("</header>")[0]
    assert "failed: ValueError: &lt;loss&gt; is nan" in text
    cells = [cell for cell in page.cells if cell.get("data-value") == "r64_a64_full"]
    assert len(cells) == 2  # in the two tables of all arms, and nowhere a figure


def test_every_number_in_the_table_is_the_analysis_own(page):
    """Cells carry the full number: it must equal the analysis', and what is shown must be that number, rounded."""
    expected = {found.name: found for found in example().rows}
    formats = {
        **dict.fromkeys(("score", "em", "selection_score"), numbers.points),
        **dict.fromkeys(("score_difference.estimate", "em_difference.estimate"), numbers.signed),
        **dict.fromkeys(("params", "questions_needed"), numbers.whole),
        "cosine": numbers.decimal,
        "score_difference.p_adjusted": numbers.p_value,
        "minutes": lambda value: numbers.decimal(value, 1),
        "observed_tier": str,
        "supported_tier": str,
    }
    checked = 0
    name = ""
    for cell in page.cells:
        if cell.get("data-key") == "name":
            name = cell["data-value"]
        elif cell.get("data-key") in formats and "data-value" in cell:
            value = expected[name]
            for part in cell["data-key"].split("."):
                value = getattr(value, part)
            assert cell["data-value"] == str(value), (name, cell)
            assert cell["text"] == formats[cell["data-key"]](value), (name, cell)
            checked += 1
    # F1, EM, selection F1 and parameters of 8 rows, minutes of all 9, cosines of 6; of 4 arms two differences, a
    # p-value and two tiers; one number of questions needed.
    assert checked == 8 * 4 + 9 + 6 + 4 * 5 + 1


def test_a_number_that_is_missing_is_a_dash_and_its_reason_is_said():
    text = html.render(with_row(example(), "r4_a8_layers8", score_difference=difference(0.03125)), series())
    cells = Page(text).cells
    start = next(i for i, cell in enumerate(cells) if cell.get("data-value") == "r4_a8_layers8")
    shown = [cell["text"] for cell in cells[start + 1 : start + 5]]
    assert shown == ["28.1", "+3.1 *", "–", "–"]  # noqa: RUF001
    assert '<small title="one question">*</small>' in text


def test_a_column_without_any_value_is_left_out():
    def heads(analysis):
        return [cell["text"] for cell in Page(html.render(analysis, series())).cells if cell.get("scope") == "col"]

    assert "questions needed" in heads(example())
    assert "questions needed" not in heads(with_each(example(), lambda _: {"questions_needed": None}))


def test_headings_skip_no_level(page):
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_collapse_shows_findings_figures_and_examples(text, page):
    assert page.visible.count("repeated 31.0% (limit 10.0%)") == 2  # in the table, and with the examples
    assert text.count('<span class="finding good">healthy</span>') == 7
    assert text.count('<span class="finding bad">collapsed</span>') == 1
    figures = [cell for cell in page.cells if cell.get("data-key") == "degeneration.metrics.first_word_entropy"]
    assert [cell["text"] for cell in figures] == [*["7.94"] * 7, "1.50"]
    shares = [cell["text"] for cell in page.cells if cell.get("data-key") == "degeneration.metrics.distinct_share"]
    assert shares == [*["98 %"] * 7, "97 %"]  # 0.975: half is rounded to even, 97.5 -> 98


def test_extractors_are_told_apart_by_what_the_model_reads(page):
    cells = [cell for cell in page.cells if cell.get("data-key", "").startswith("extractors.")]
    assert len(cells) == 16
    assert cells[0]["text"] == "25.0 / 12.5"
    assert cells[1]["text"] == "25.8 / 6.2"  # 0.2578125 and 0.0625
    assert "top" in cells[1]["class"]
    reads = [cell["text"] for cell in page.cells if cell["text"] in ("text", "codes")]
    assert reads.count("text") == 2
    assert reads.count("codes") == 7  # six rows, and the part of the table of bytes


def test_bytes_add_up(page):
    by_key = {cell["data-key"]: cell["text"] for cell in page.cells if "data-key" in cell}
    assert by_key["matrix_bytes_original"] == "56,623,104"
    assert by_key["matrix_bytes_total"] == "21,468,672"  # 14,155,776 + 6,981,120 + 331,776
    assert "38 %" in page.visible  # 21,468,672 / 56,623,104 = 0.379


def test_with_several_codecs_the_bytes_name_the_arm_whose_they_are():
    one = CodecSummary(arms=("baseline",), label="pca", code_width=144, code_bits=None, metrics=(), warnings=())
    for codecs, begin in (((one,), "Embedding matrix "), ((one, one), "The codec of r16_a32_full: ")):
        visible = Page(html.render(example().model_copy(update={"codecs": codecs}), series())).visible
        assert f"{begin}49,152 tokens, " in " ".join(visible.split())


def test_provenance_says_what_was_run(page):
    for fact in ("b179c9523d0e", "0c8d76d0178f", "f" * 40 + ", with uncommitted changes", "torch 2.11.0, peft 0.21.0"):
        assert fact in page.visible


# Questions


def test_no_text_can_become_markup(text, page):
    assert "owned" in page.visible  # shown as text in an example
    assert text.count("<script") == 2  # the data and the page's own
    assert text.count("</script>") == 2
    assert "img" not in [tag for tag, _ in page.elements]
    assert "<b>gold" not in text
    assert "<i>raw" not in text
    assert "\x00" not in text
    assert "\u2028" not in text.split("question-data")[1]


def test_the_inlined_questions_are_the_series_own(page):
    rows = json.loads(page.data)["rows"]
    assert len(rows) == 60
    assert rows[0] == ["id00", HOSTILE, ["gold 0", "other"], None, None, "base 0", 0.0, "<b>bold</b>", 1.0]
    assert rows[20][:5] == ["id20", "Which number is number 20?", ["gold 20", "zebra"], "The answer", 0.25]


def test_json_in_a_script_cannot_end_it():
    written = embed.script_json({"a": "</script><!--&\u2028\u2029"})
    assert not set(written) & set("<>&\u2028\u2029")
    assert json.loads(written) == {"a": "</script><!--&\u2028\u2029"}
    with pytest.raises(ValueError, match="JSON"):
        embed.script_json(math.nan)


def test_fixed_and_broken_questions_are_counted():
    assert embed.count(series()["questions"]) == {"fixed": 10, "broke": 5, "all": 60}
    unscored = {"baseline": {"text": "a", "score": None}, "best": {"text": "a", "score": 1.0}}
    missing = {"baseline": None, "best": {"text": "a", "score": 1.0}}
    assert embed.count([unscored, missing]) == {"fixed": 0, "broke": 0, "all": 2}


def test_the_whole_test_set_fits_and_is_kept_in_full():
    found = big_series()
    text = html.render(example(), found)
    assert len(text.encode()) < html.MAX_BYTES
    holder = re.search(r'id="question-data" data-encoding="deflate">([^<]+)<', text)
    rows = json.loads(zlib.decompress(base64.b64decode(holder[1])))["rows"]
    assert len(rows) == 10_570
    last = found["questions"][-1]
    assert rows[-1][:2] == [last["id"], last["question"]]
    assert rows[-1][3:] == [
        last["text_control"]["text"],
        0.3333,
        last["baseline"]["text"],
        0.1429,
        last["best"]["text"],
        1.0,
    ]


def test_endless_answers_are_cut_rather_than_the_page_too_large():
    noise = lambda n: "".join(hashlib.sha256(f"{n} {k}".encode()).hexdigest() for k in range(15))  # noqa: E731
    found = big_series(2000)
    for number, question in enumerate(found["questions"]):
        question["best"]["text"] = noise(number)
    script = embed.questions_script(found["questions"], {}, budget=600_000)
    assert len(script) < 600_100
    data_ = script.split(">")[1].split("<")[0]
    rows = json.loads(zlib.decompress(base64.b64decode(data_)))["rows"]
    assert rows[3][7].endswith("…")
    assert found["questions"][3]["best"]["text"].startswith(rows[3][7][:-1])


# What may be missing


def lacking(what):
    """An analysis and its series without something."""
    if what == "everything":
        nothing = example().model_copy(update={"rows": (), "bytes": None, "notes": ()})
        return with_verdict(nothing, tier=None, supported_tier=None, next_steps=()), NO_SERIES
    if what == "baseline":
        no_differences = {"score_difference": None, "em_difference": None}
        return with_each(without(example(), "baseline"), lambda _: no_differences), series()
    if what == "controls":
        return without(example(), *(row.name for row in example().rows if row.kind == "control")), series()
    alone = with_row(only(example(), "baseline"), "baseline", best=True)
    return with_verdict(alone, best="baseline", judged_by=None), series()


@pytest.mark.parametrize("what", ["everything", "baseline", "controls", "lora"])
def test_a_page_with_parts_missing_is_whole_and_invents_nothing(what):
    text = html.render(*lacking(what))
    page = Page(text)
    assert page.open == []
    assert not re.search(r"\b(nan|NaN|None|inf)\b", page.visible.replace("loss> is nan", ""))


def test_without_series_their_sections_and_the_links_to_them_are_left_out():
    whole, short = Page(html.render(example(), series())), Page(html.render(example(), None))

    def sections(page):
        return [attributes["id"] for tag, attributes in page.elements if tag == "section"]

    left_out = ["training", "frequency", "questions"]
    assert sections(short) == [name for name in sections(whole) if name not in left_out]
    assert len(sections(whole)) == len(sections(short)) + 3
    links = [attributes["href"] for tag, attributes in short.elements if tag == "a"]
    assert links[: len(sections(short))] == [f"#{name}" for name in sections(short)]
    assert short.open == []


def test_a_lone_surrogate_does_not_keep_the_page_from_being_written():
    found = series()
    found["questions"][1]["best"]["text"] = "broken \ud800 answer"
    html.render(example(), found).encode("utf-8")


def test_names_are_escaped_wherever_they_stand():
    name = "<u>&'\""
    analysis = with_verdict(with_row(example(), "r16_a32_full", name=name), best=name, judged_by=name)
    found = series()
    found["training"]["<u>&'\""] = found["training"].pop("r16_a32_full")
    text = html.render(analysis, found)
    assert "<u>" not in text
    assert Page(text).open == []
    assert markup.text("<u>&'\"\x07") == "&lt;u&gt;&amp;&#x27;&quot;\ufffd"


# Colours, imports


def contrast(one, other):
    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK])
def test_text_and_marks_can_be_seen_on_their_page(colours):
    for name in ("ink", "soft", "good", "fair", "bad"):
        assert contrast(colours[name], colours["page"]) >= 4.5, name
        assert contrast(colours[name], colours["panel"]) >= 4.5, name
    assert contrast(colours["c0"], colours["page"]) >= 4.5  # also used for links and the verdict's number
    for number in range(palette.NUM_SERIES):
        assert contrast(colours[f"c{number}"], colours["page"]) >= 3, number


def test_rendering_loads_no_heavy_package():
    code = (
        "import sys, thinwire.report.html.page, thinwire.report.figures.files; "
        "print(sorted({'torch', 'numpy', 'scipy', 'vl_convert', 'transformers'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
