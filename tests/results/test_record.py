import json

import pytest

from sweep_folder import write_run
from thinwire.errors import ThinwireError
from thinwire.results.experiment_file import read_experiment_file, write_experiment_file
from thinwire.results.record import SEAL, carries_hashes
from thinwire.results.search_record import SearchRecord, read_search_record, write_search_record


@pytest.fixture
def run(tmp_path):
    """A sweep's folder with all files that carry hashes, and its settings and search."""
    run = write_run(tmp_path / "run")
    write_experiment_file(run, {"name": "made"})
    write_search_record(run, SearchRecord(arms={}))
    return run


def without_seal(path):
    value = json.loads(path.read_text())
    del value[SEAL]
    path.write_text(json.dumps(value))


def test_files_are_read_as_they_were_written(run):
    assert carries_hashes(run)
    assert read_experiment_file(run) == {"name": "made"}
    assert read_search_record(run) == SearchRecord(arms={})


def test_a_file_without_a_hash_is_damaged_where_the_others_have_one(run):
    without_seal(run / "search.json")
    with pytest.raises(ThinwireError, match=r"search\.json is damaged: the hash of its content .* is missing"):
        read_search_record(run)
    text = (run / "experiment.yaml").read_text()
    for changed in (text.partition("\n")[2], "\ufeff" + text):
        (run / "experiment.yaml").write_text(changed)
        with pytest.raises(ThinwireError, match=r"experiment\.yaml is damaged: the hash of its lines is missing"):
            read_experiment_file(run)


@pytest.mark.parametrize("header", ["5", "null", "[]", '"text"'])
def test_a_header_that_is_no_object_tells_of_no_hashes(run, header):
    (run / "sweep.json").write_text(header)
    assert not carries_hashes(run)
    assert read_search_record(run) == SearchRecord(arms={})


def test_a_folder_of_an_earlier_version_carries_none(run):
    for name in ("sweep.json", "search.json"):
        without_seal(run / name)
    (run / "experiment.yaml").write_text("name: made\n")
    assert not carries_hashes(run)
    assert read_experiment_file(run) == {"name": "made"}
    assert read_search_record(run) == SearchRecord(arms={})
