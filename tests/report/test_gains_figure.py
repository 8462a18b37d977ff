import re

from small_analysis import example, interaction
from thinwire.report.figures import gains
from thinwire.report.figures.files import every_figure
from thinwire.report.series import NO_SERIES

GAIN, REFERENCE = (0.125, 0.1, 0.15), (0.25, 0.2, 0.3)


def drawn(*found, width=912):
    analysis = example().model_copy(update={"interactions": found})
    figure = gains.figure(analysis)
    return figure, figure.draw(width)


def test_gain_and_reference_stand_on_one_scale_with_their_intervals():
    _, drawing = drawn(interaction("arm", GAIN, REFERENCE))
    marks = re.findall(r'class="mark (?!key)([^" ]*)" data-x="([^"]+)" data-y="([^"]+)"', drawing.markup)
    (first, x1, y1), (second, x2, y2) = [(css, float(x), float(y)) for css, x, y in marks]
    assert (first, second) == ("c0", "c1")
    assert y2 - y1 == 16  # 8 pixels to either side of the row
    (zero,) = re.findall(r'<line x1="([^"]+)" [^>]*class="zero"', drawing.markup)
    assert abs((x2 - float(zero)) - 2 * (x1 - float(zero))) < 0.2  # 25 points are twice 12.5
    lines = re.findall(r'<line x1="([^"]+)" y1="[^"]+" x2="([^"]+)" y2="[^"]+" class="outer c([01])"', drawing.markup)
    for (low, high, _), centre in zip(lines, (x1, x2), strict=True):
        assert abs((float(low) + float(high)) / 2 - centre) < 0.2


def test_the_figure_says_its_numbers_and_the_difference():
    figure, drawing = drawn(interaction("arm", GAIN, REFERENCE), width=342)
    assert figure.title == "LoRA's gain on compressed and on uncompressed input"
    said = drawing.words.replace("\u2212", "-")
    assert said == (
        "arm: compressed input +12.5 [+10.0, +15.0], uncompressed input +25.0 [+20.0, +30.0], "
        "difference -12.5 [-13.0, -12.0]."
    )


def test_other_gains_are_not_called_those_of_lora():
    figure, _ = drawn(interaction("arm", GAIN, REFERENCE), interaction("b", GAIN, REFERENCE, of_compression=False))
    assert figure.title == "Gains and reference gains"


def test_a_gain_without_an_interval_is_a_mark_alone():
    _, drawing = drawn(interaction("arm", (0.125, None, None), REFERENCE))
    assert drawing.markup.count('class="outer c0"') == 0
    assert drawing.markup.count('class="outer c1"') == 1


def test_the_figure_is_there_only_with_interactions():
    found = example().model_copy(update={"interactions": (interaction("arm", GAIN, REFERENCE),)})
    assert "gains" in [figure.name for figure in every_figure(found, NO_SERIES)]
    assert "gains" not in [figure.name for figure in every_figure(example(), NO_SERIES)]
