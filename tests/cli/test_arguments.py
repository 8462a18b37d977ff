"""Mistakes on the command line: each is one line that begins with "error:", names the value and what to do."""

import pytest

import thinwire as package
from sweep_folder import write_run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["swep"], "no such command 'swep' (did you mean 'sweep'?); `thinwire --help` lists what there is"),
        (["--versio"], "no such option: --versio (did you mean --version?); `thinwire --help` lists what there is"),
        (
            ["sweep", "x.yaml", "--trak"],
            "no such option: --trak (did you mean --track?); `thinwire sweep --help` lists what there is",
        ),
        (["sweep"], "missing argument 'experiment'; `thinwire sweep --help` lists what there is"),
        (
            ["train", "x.yaml", "arm", "more"],
            "got unexpected extra argument(s) (more); `thinwire train --help` lists what there is",
        ),
        (["work", "x", "--set"], "no such option: --set; `thinwire work --help` lists what there is"),
        (["sweep", "x.yaml", "--set"], "option '--set' requires an argument; `thinwire sweep --help` lists what"),
        (
            ["sweep", "x.yaml", "--workers", "two"],
            "invalid value for '--workers': Input should be a valid integer, got 'two'; `thinwire sweep --help` lists",
        ),
    ],
)
def test_what_the_parser_refuses_is_one_line_with_the_nearest_name(arguments, said, thinwire):
    code, out, err = thinwire(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"error: {said}"), line


@pytest.mark.parametrize("command", [["compare"], ["status"], ["best"], ["plot"]])
def test_a_folder_that_is_not_there_is_named_with_one_beside_it(command, tmp_path, thinwire):
    (tmp_path / "phase1a_lora_sweep").mkdir()
    code, _, err = thinwire(*command, tmp_path / "phase1a_sweep")
    assert code == 2
    assert err.startswith("error: no ")
    assert f"{tmp_path / 'phase1a_sweep'} (did you mean '{tmp_path / 'phase1a_lora_sweep'}'?); expected the " in err


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["sweep", "-h"], ["evaluate", "--help"]])
def test_help_has_a_short_option_too(arguments, thinwire):
    code, out, _ = thinwire(*arguments)
    assert code == 0
    assert "Usage:" in out
    assert "-h" in out.split()


def test_version_is_that_of_the_package(thinwire):
    assert thinwire("--version") == (0, f"thinwire {package.__version__}\n", "")


def test_a_sweeps_folder_in_the_place_of_an_arms_names_the_arms(tmp_path, thinwire):
    run = write_run(tmp_path / "run")
    code, _, err = thinwire("evaluate", run)
    assert code == 2
    assert err.startswith(f"error: {run} is a sweep's folder; name one of its arms, as {run}/ARM: baseline, r4_a8_")
    assert "controls/text_lora" in err
    code, _, err = thinwire("export", run / "r8_a8_layer12", tmp_path / "out")
    assert code == 2
    assert "is no arm's folder: it has no record.json (did you mean 'r8_a8_layers12'?); " in err
