"""Bad settings, arguments and data: each is refused in a line that names the place and what was found, with exit code
2, before anything is written; what is right is accepted.

Tables of cases, and fuzzers that hold the readers to typed errors. All cases run in both forms of the tests; the long
form gives the fuzzers more examples.
"""

import gzip
import json
import os
import re
import signal
import string
from contextlib import contextmanager, suppress
from signal import signal as set_handler  # the fixture of the command replaces it in the module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinwire.config.load import load_experiment
from thinwire.data.squad import read_examples
from thinwire.errors import UsageError
from tiny_models import save_tiny, squad_document, write_squad

SECONDS = 60
"""For a case; most take a fraction of one."""

BASE = """
name: toy
model: {name: model, device: cpu, dtype: float32}
data: {train: train.json, test: test.json, samples: 8, selection_articles: 2}
adapter: {hidden: 8}
reconstruction: {steps: 2, batch_rows: 16}
training: {epochs: 1, batch_size: 4}
evaluation: {samples: 2, selection_samples: 2, max_new_tokens: 2}
"""
ARMS = "arms: {baseline: {}, r2: {lora: {rank: 2}}}\n"
ROW = {"id": "1", "title": "T", "context": "Ada was here.", "question": "Who?", "answers": ["Ada"]}
DIGITS = "9" * 5000


@contextmanager
def limited(seconds):
    """Raise an error in the block after ``seconds``."""

    def give_up(*_):
        raise AssertionError(f"it took more than {seconds} seconds")

    before = set_handler(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        set_handler(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with a tiny model, questions, an experiment file and things that are no such files."""
    folder = tmp_path_factory.mktemp("inputs")
    save_tiny(folder / "model")
    write_squad(folder / "train.json")
    write_squad(folder / "test.json", num_articles=2, first=6)
    (folder / "toy.yaml").write_text(BASE + ARMS)
    (folder / "answers.json").write_text('{"6-0": "60"}')
    (folder / "notes.txt").write_text("mine")
    (folder / "taken").mkdir()
    (folder / "taken" / "thesis.tex").write_text("mine")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nothing")
    return folder


@pytest.fixture
def here(inputs, monkeypatch):
    """Work in the folder of the inputs, with a cache in it that must stay empty; what a case writes is removed."""
    monkeypatch.chdir(inputs)
    monkeypatch.setenv("THINWIRE_CACHE", str(inputs / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    before = set(inputs.rglob("*"))
    yield inputs
    for path in sorted(set(inputs.rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def refused(here, thinwire, arguments, fragments):
    """Run a command that must be refused as promised."""
    before = set(here.rglob("*"))
    with limited(SECONDS):
        code, out, err = thinwire(*arguments)
    assert code == 2, (code, out, err)
    assert out == ""
    lines = [line for line in err.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]  # which log what is done
    assert lines
    assert all(
        line.startswith(("error: ", "cannot read the results: ")) and line.isprintable() and len(line) < 2_000
        for line in lines
    ), err
    assert len(set(lines)) == len(lines)
    for fragment in fragments:
        assert fragment in err, err
    assert set(here.rglob("*")) == before


# Settings, in files and on the command line

INTEGERS = {
    "data.samples": 0,
    "data.selection_articles": 0,
    "prompt.max_tokens": 0,
    "adapter.hidden": 0,
    "supervision.k_tokens": 0,
    "lora.rank": -1,
    "training.epochs": -1,
    "training.batch_size": 0,
    "evaluation.samples": 0,
    "evaluation.max_new_tokens": 0,
    "verdict.resamples": 99,
    "codec.compress_dim": 0,
}
NUMBERS = {
    "lora.alpha": 0,
    "lora.dropout": 1,
    "training.adapter_lr": 0,
    "training.clip_norm": -1,
    "supervision.ce_weight": -0.5,
    "codec.ratio": 0.5,
    "verdict.confidence": 1.5,
    "reconstruction.uniform_share": 1.1,
}
NO_INTEGER = ["true", "'3'", "3.5", "3.0", "1e30", str(10**30), ".nan", ".inf", "[1]", "{a: 1}", "0x10", "010", DIGITS]
NO_NUMBER = ["true", "'0.5'", ".nan", "-.inf", "1e999", "[0.5]", "{a: 1}", "12:30", "2024-13-45"]

OVERRIDES = [
    *((f"{path}={value}", [path]) for path in INTEGERS for value in [*NO_INTEGER, str(INTEGERS[path])]),
    *((f"{path}={value}", [path]) for path in NUMBERS for value in [*NO_NUMBER, str(NUMBERS[path])]),
    *((f"context={value}", ["context", "valid boolean"]) for value in ["1", "'true'", "null", "[]", "no"]),
    *((f"{path}=3", [path, "a text", "got 3"]) for path in ["data.train", "model.name", "description", "name"]),
    *((f"{path}=' '", [path, "empty"]) for path in ["data.train", "data.test", "model.name"]),
    ("", ["--set is empty"]),
    ("=3", ["--set takes path.to.key=value", "'=3'"]),
    ("seed", ["--set takes path.to.key=value", "'seed'"]),
    ("seed=", ["--set seed= has no value"]),
    ("a..b=3", ["'a..b=3'"]),
    (".seed=3", ["'.seed=3'"]),
    ("lora.=3", ["'lora.=3'"]),
    ("lora rank=3", ["'lora rank=3'"]),
    ("lora=3", ["lora is a group of settings, got 3"]),
    ("lora.rank.x=3", ["lora.rank"]),
    ("data.samples.x=3", ["data.samples is a single value, not a group"]),
    ("seed={a: 1, a: 2}", ["--set seed", "'a' stands twice"]),
    ("seed=[1", ["--set seed: '[1' is no YAML value"]),
    ("seed=a: b: c", ["--set seed"]),
    ("seed=\t3\t\n\t- 4", ["--set seed"]),
    ("seed=!!python/object/apply:os.system [id]", ["the tag", "os.system"]),
    ("seed=!!int '3'", ["the tag"]),
    ("seed=1\n--- \n2", ["--set seed"]),
    ("seed=" + "[" * 100_000, ["--set seed", "nested more than"]),
    ("seed=" + "- " * 100_000, ["--set seed"]),
    ("seed=\x1b[31m3", ["--set seed", "U+001B"]),
    ('description="\\ud800"', ["U+D800"]),
    ('description="\\0"', ["U+0000"]),
    ("\x1b[2Jseed=3", ["\\x1b[2Jseed"]),
    ("extends=toy.yaml", ["unknown setting 'extends'"]),
    ("__class__=3", ["unknown setting '__class__'"]),
    ("sed=3", ["unknown setting 'sed'", "'seed'"]),
    ("x" * 100_000 + "=3", ["unknown setting"]),
    ("seed=9223372036854775808", ["seed", "9223372036854775808"]),
    ("seeds=[1, 1]", ["seeds", "twice"]),
    ("seeds=[1, true]", ["seeds", "True"]),
    ("seeds=3", ["seeds", "a list, got 3"]),
    ("model.device=gpu", ["model.device: 'gpu' is no device"]),
    ("model.device=meta", ["model.device: 'meta' is no device"]),
    ("model.device=cuda:99", ["cuda:99"]),
    ("model.base_bits=5", ["model.base_bits", "got 5"]),
    ("lora.targets=[]", ["lora.targets", "[]"]),
    ("lora.targets=[q_proj, q_proj]", ["lora.targets", "each once"]),
    ("lora.targets=['']", ["lora.targets", "['']"]),
    ("lora.targets=q_proj", ["lora.targets", "a list, got 'q_proj'"]),
    ("lora.layers=0", ["lora.layers", "got 0"]),
    ("lora.layers=some", ["lora.layers", "'some'"]),
    ("codec.kind=pcaa", ["codec.kind: 'pcaa' is no codec"]),
    ("codec.compress_dim=64", ["codec.compress_dim is 64", "32"]),
    ("adapter.hidden=1000000000000", ["adapter.hidden"]),
    ("codec={kind: vq, compress_dim: 8, vq: {form: product, num_codebooks: 3}}", ["codec.vq.num_codebooks is 3", "8"]),
    ("codec={kind: vq, vq: {codebook_size: 1000}}", ["codec.vq.codebook_size is 1000", "261"]),
    ("model.compile=1", ["model.compile: Input should be a valid boolean or 'auto', got 1"]),
    ("interactions.a b={}", ["'interactions.a b={}'"]),
    ("lora.rank=1000000000", ["lora.rank"]),
    ("group_size=many", ["group_size", "'many'"]),
    ("worker_processes=0", ["worker_processes", "got 0"]),
    ("baseline=basline", ["'basline' is no arm", "'baseline'"]),
    ("verdict.marginal=7", ["verdict: thresholds must rise"]),
    ("search.data.samples=[1, 2]", ["search.data"]),
    ("search.training.lora_lr=3", ["training.lora_lr", "a list"]),
    ("search.training.lora_lr=[]", ["training.lora_lr"]),
    ("search.training.lora_lr=[1.0]", ["training.lora_lr"]),
    ("search.training.lora_lr=[1.0, 1.0]", ["training.lora_lr", "each once"]),
    ("search.training.lora_lr=[.nan, 1.0]", ["training.lora_lr"]),
    ("search.training.lora_lr=[[1], [2]]", ["training.lora_lr", "single values"]),
    ("search={seed: [1, 2]}", ["seed cannot be searched"]),
    ("interactions.x.arm=baseline", ["interactions.x.baseline is required"]),
    ("arms=3", ["arms", "got 3"]),
    ("arms={}", ["arms"]),
    ("arms=[baseline]", ["arms", "['baseline']"]),
    ("arms.r2=[1]", ["arms.r2 is a mapping of changes, got [1]"]),
    ("arms.r2.data.samples=3", ["arms.r2.data", "whole experiment"]),
    ("arms.r2.lora.rank=two", ["arms.r2.lora.rank", "'two'"]),
    ("arms.r2.lora.rnk=2", ["unknown setting 'arms.r2.lora.rnk'", "'rank'"]),
    ("arms.r2.supervision.ce_weight=0", ["r2 would fail: ", "nothing would train LoRA"]),
    (
        "arms.r2={input: blocks, blocks: {encoder: first_layers, layers: 3}, training: {adapter_lr: 0.1}}",
        ["r2 would fail: blocks.layers is 3", "has 2 layers; choose 1 to 2"],
    ),
    ("arms.r2.lora.start_from=nowhere", ["r2 would fail: nowhere is no arm's folder"]),
    ("arms.r2.lora.start_from=taken", ["r2 would fail: taken is no arm's folder"]),
    ("arms.r2.lora.start_from=loop", ["r2 would fail: loop is no arm's folder"]),
    ("arms.r2.lora.start_from=pipe", ["r2 would fail: pipe is no arm's folder"]),
    ("arms.r2.lora.start_from=''", ["r2 would fail", "empty"]),
    ("arms.r2.lora.trained=false", ["start_from"]),
    ("arms.r2.supervision={kd_weight: 1, teacher: nowhere}", ["r2 would fail: nowhere is no arm's folder"]),
    ("controls={baseline: {}}", ["baseline: the name of an arm and of a control"]),
    ("data.test=train.json", ["paragraphs of the test questions", "train.json"]),
    ("data.test=null", ["single file without a dev split"]),
    ("data.test_articles=1", ["test_articles=1"]),
    ("data.selection_articles=6", ["6 articles cannot be held out of 6"]),
    ("data.train=nowhere.json", ["no data file nowhere.json"]),
    ("data.train=taken", ["taken"]),
    ("data.train=~/train.json", ["data.train", "'~/train.json'", "~ is not read as the home folder", "$HOME"]),
    ("model.name=~/model", ["model.name", "'~/model'", "$HOME"]),
    ("model.base_bits=4", ["model.base_bits=4 needs"]),
    ("data.train=pipe", ["pipe is no .json"]),
    ("data.train=notes.txt", ["notes.txt is no .json"]),
    (f"data.train={'x' * 300}.json", ["too long"]),
    ("data.mismatched=keeep", ["data.mismatched", "'keeep'"]),
    *(
        (f"arms={{baseline: {{}}, {json.dumps(name)}: {{}}}}", fragments)
        for name, fragments in [
            ("", ["arms", "match pattern"]),
            ("..", ["arms", "match pattern"]),
            ("a/b", ["arms", "match pattern"]),
            ("a b", ["arms", "match pattern"]),
            (".a", ["arms", "match pattern"]),
            ("-a", ["arms", "match pattern"]),
            ("a\n", ["arms"]),
            ("a\u202eb", ["arms"]),
            ("x" * 201, ["201 bytes"]),
            ("CON", ["the name CON", "Windows"]),
            ("nul.txt", ["the name nul.txt", "Windows"]),
            ("lpt1", ["the name lpt1", "Windows"]),
            ("a.", ["the name a.", "Windows"]),
            ("Baseline", ["baseline and Baseline would both use the folder"]),
            ("codec", ["cannot be called codec"]),
            ("Sweep.json", ["cannot be called Sweep.json"]),
        ]
    ),
]
TWO_OVERRIDES = [
    (
        ["adapter.hidden=1000000", "reconstruction.batch_rows=10000000"],
        ["baseline would fail", "GB are free", "adapter.hidden"],
    ),
    (["seeds=[0, 1]", "arms={baseline: {}, a: {}, a-seed1: {}}"], ["a and a-seed1 would both use the folder a-seed1"]),
    (["seeds=[0, 1]", f"arms={{baseline: {{}}, {'x' * 196}: {{}}}}"], ["202 bytes", "with its seed"]),
    (["lora.rank=x", "seed=y"], ["lora.rank", "'x'", "seed", "'y'"]),
    (["search.training.lora_lr=[1.0, 2.0]", "search.codec.kind=[pca]"], ["codec.kind"]),
    (
        [
            f"search.{path}={list(range(1, 41))}"
            for path in ("training.batch_size", "training.epochs", "supervision.k_tokens")
        ],
        ["64,000 combinations"],
    ),
]

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
MERGE_BOMB = "m0: &m0 {a: 1, b: 2}\n" + "".join(
    f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 20)}]}}\n" for n in range(1, 8)
)
FILES = [
    ("", ["is empty"]),
    ("\n\n", ["NoneType"]),
    ("- 1\n", ["holds a list"]),
    ("3\n", ["holds a int"]),
    ("a: [", ["line 1"]),
    (BASE + ARMS + "seed: 1\nseed: 2\n", ["line 11", "'seed' stands twice"]),
    (BASE + ARMS + "lora: {rank: 1, rank: 2}\n", ["line 10", "'rank' stands twice"]),
    (BASE + "arms:\n  baseline: {}\n  baseline: {}\n", ["line 11", "'baseline' stands twice"]),
    (BASE + "arms: {baseline: {}, 1: {}}\n", ["line 9", "the key '1' is no text"]),
    (BASE + "arms: {baseline: {}, true: {}}\n", ["the key 'true' is no text"]),
    (BASE + "arms: {baseline: {}, null: {}}\n", ["the key 'null' is no text"]),
    (BASE + "arms: {baseline: {}, [a]: {}}\n", ["a list or mapping is no text"]),
    (BOMB + BASE + ARMS, ["more than 50,000 values"]),
    (MERGE_BOMB + BASE + ARMS, ["more than 50,000 values"]),
    (BASE + ARMS + "search: &a {x: *a}\n", ["alias *a stands inside"]),
    (BASE + ARMS + "search: *nowhere\n", ["nowhere"]),
    (BASE + ARMS + f"seed: {DIGITS}\n", ["thousands of digits"]),
    (BASE + ARMS + "seed: 2024-13-45\n", ["seed", "'2024-13-45'"]),
    (BASE + ARMS + "seed: 2024-01-01\n", ["seed", "'2024-01-01'"]),
    (BASE + ARMS + "seed: 010\n", ["seed", "'010'"]),
    (BASE + ARMS + "seed: 1:30\n", ["seed", "'1:30'"]),
    (BASE + ARMS + "seed: !!python/name:os.system\n", ["the tag", "os.system"]),
    (BASE + ARMS + "seed: !!binary aGk=\n", ["the tag"]),
    (BASE + ARMS + "seed: !own 3\n", ["the tag '!own'"]),
    (BASE + ARMS + "seeds: !!set {1, 2}\n", ["the tag"]),
    (BASE + ARMS + "--- {seed: 1}\n", ["line 10", "another document"]),
    (BASE + ARMS + "lora:\n\trank: 3\n", ["line 11"]),
    (BASE + ARMS + "description: a\x00b\n", ["line 10", "U+0000"]),
    (BASE + ARMS + "description: a\x1b[2Jb\n", ["line 10", "U+001B"]),
    (BASE + ARMS + 'description: "\\e[2J"\n', ["line 10", "U+001B"]),
    (BASE + ARMS + "seed: " + "[" * 100_000, ["nested more than 50"]),
    (BASE + ARMS + "seed: " + "{a: " * 10_000, ["nested more than 50"]),
    (BASE + ARMS + "".join(" " * n + "a:\n" for n in range(1_000)), ["line"]),
    ("x" * 2_000_000, ["more than 1,048,576 bytes"]),
    ("[" + "1," * 400_000 + "]", ["more than 50,000 values"]),
    ((BASE + ARMS).encode("utf-16"), ["UTF-16"]),
    ((BASE + ARMS).encode("utf-32"), ["UTF-32"]),
    ((BASE + ARMS + "description: caf\u00e9\n").encode("latin-1"), ["line 10", "0xe9", "Latin-1"]),
    (gzip.compress(BASE.encode(), mtime=0), ["gzip"]),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", ["Git LFS pointer"]),
    (b"\x00\x01\x02\x03", ["no text"]),
    (
        BASE + "arms:\n  baseline: {}\n" + "".join(f"  arm{n}: {{lora: {{rank: 0.5}}}}\n" for n in range(3)),
        ["arms.arm0", "arms.arm2"],
    ),
    ("extends: bad.yaml\n", ["bad.yaml extends itself"]),
    ("extends: nowhere.yaml\n", ["bad.yaml extends nowhere.yaml, which does not exist"]),
    ("extends: taken\n", ["bad.yaml extends", "taken is a folder"]),
    ("extends: pipe\n", ["bad.yaml extends", "pipe is a pipe"]),
    ("extends: loop\n", ["loop is a link to itself"]),
    ("extends: dangling\n", ["dangling, which does not exist"]),
    ("extends: [toy.yaml]\n", ["extends takes the path", "['toy.yaml']"]),
    ("extends: null\n", ["extends takes the path", "None"]),
    ("extends: ''\n", ["empty"]),
    ('extends: "a\\0b"\n', ["U+0000"]),
    (f"extends: {'x' * 300}\n", ["too long"]),
    ("extends: notes.txt\n", ["notes.txt holds a str"]),
]

# Data

ROWS = [
    *(
        ({field: value}, [f"line 1, {field}", found])
        for field in ("id", "question", "context")
        for value, found in [
            (None, "found null"),
            (True, "found true"),
            (0.5, "found a number (0.5)"),
            ([], "found a list"),
            (["x"], "found a list"),
            ({"x": 1}, "found an object"),
            ("", "blank text"),
            (" \n\t", "blank text"),
            ("a\0b", "NUL"),
            ("\ud800", "surrogate"),
        ]
    ),
    ({"question": 3}, ["line 1, question", "found a number (3)"]),
    ({"context": 3}, ["line 1, context", "found a number (3)"]),
    *(
        ({"answers": value}, ["line 1, answers", found])
        for value, found in [
            (None, "found null"),
            (True, "found true"),
            ("", "blank text"),
            (" ", "blank text"),
            ([""], "blank text"),
            ([None], "found null"),
            ([True], "found true"),
            ([["Ada"]], "found a list"),
            (["Ada", False], "answers[1]: found false"),
            (["Ada\0"], "NUL"),
            (["\udfff"], "surrogate"),
            ({}, "no field 'text'"),
            ({"text": "Ada"}, "found a text ('Ada'), expected a list"),
            ({"text": ["Ada"], "answer_start": 0}, "found a number (0), expected a list"),
            ({"text": ["Ada"], "answer_start": [0, 1]}, "1 text, but 2 answer_start"),
            ([{"answer_start": 0}], "no field 'text'"),
            *(
                ([{"text": "Ada", "answer_start": start}], f"answer_start: found {found}")
                for start, found in [
                    (True, "true"),
                    ("0", "a text ('0')"),
                    (0.0, "a number (0.0)"),
                    (-1, "a number (-1)"),
                    ([0], "a list"),
                    ({}, "an object"),
                ]
            ),
        ]
    ),
    ({"answers": [{"text": "Ada", "answer_start": 1}]}, ["line 1", "answer_start 1", "'da '"]),
    ({"answers": [{"text": "Ada", "answer_start": 10**9}]}, ["line 1", "answer_start 1000000000"]),
    ({"answers": [{"text": "Ada", "answer_start": 0}, {"text": "Ada", "answer_start": 3}]}, ["answer_start 3"]),
    ({"answers": "Bob"}, ["1 questions", "'Bob' is not in the context", "data.mismatched=drop"]),
    ({"answers": 3}, ["1 questions", "'3' is not in the context"]),
    ({"answers": [0.5]}, ["'0.5' is not in the context"]),
    ({"answers": "ada"}, ["'ada' is not in the context"]),
    ({"answers": "Ad\u00e9", "context": "Ade\u0301 came."}, ["NFC"]),
    ({"answers": []}, ["1 unanswerable question, first "]),
    ({"title": 0.5}, ["line 1, title", "found a number (0.5)"]),
    ({"title": True}, ["line 1, title", "found true"]),
    ({"title": ["T"]}, ["line 1, title", "found a list"]),
    ({"title": "a\0"}, ["line 1, title", "NUL"]),
    ({"is_impossible": True}, ["line 1", "is_impossible is true"]),
    ({"id": "2"}, ["the question id '2' twice"]),
]
"""Changes of the first of two rows."""

MISSING = [(field, ["line 1", f"no field '{field}'"]) for field in ("context", "question", "answers")]

TEXT = json.dumps(squad_document(num_articles=4))
LINE = json.dumps(ROW)
UNNAMED = json.dumps({key: value for key, value in ROW.items() if key != "id"})
CELLS = "context,question,answer\nAda was here.,Who?,Ada\n"
"""A table; its ids are made."""
DATA_FILES = [
    ("a.json", "", ["a.json is empty"]),
    ("a.json", " \n ", ["a.json, line 2", "no JSON"]),
    ("a.json", "[]", ["no question with an answer"]),
    ("a.json", "[3]", ["[0]: found a number (3), expected an object"]),
    ("a.json", f"[{LINE}", ["a.json, line 1", "no JSON"]),
    ("a.json", f"[{LINE},]", ["a.json, line 1", "no JSON"]),
    ("a.json", f"[{LINE}] x", ["more text after the end of the list"]),
    ("a.json", f"[{LINE}, {LINE}]", ["holds the question id '1' twice ([1])"]),
    ("a.json", TEXT.replace('"id"', '"key"', 1), ["data[0].paragraphs[0].qas[0]: no field 'id'"]),
    ("a.json", "3", ["no JSON", "an object"]),
    ("a.json", '"x"', ["no JSON", "an object"]),
    ("a.json", "null", ["no JSON", "an object"]),
    ("a.json", "{}", ["no key 'data'"]),
    ("a.json", '{"data": null}', ["data: found null"]),
    ("a.json", '{"data": {}}', ["data: found an object"]),
    ("a.json", '{"data": []}', ["no question with an answer"]),
    ("a.json", '{"data": [3]}', ["data[0]: found a number (3)"]),
    ("a.json", '{"data": [{}]}', ["data[0]: no field 'paragraphs'"]),
    ("a.json", '{"data": [{"paragraphs": null}]}', ["data[0].paragraphs: found null"]),
    ("a.json", '{"data": [{"paragraphs": [3]}]}', ["data[0].paragraphs[0]: found a number (3)"]),
    ("a.json", '{"data": [{"paragraphs": [{}]}]}', ["data[0].paragraphs[0]: no field 'context'"]),
    ("a.json", '{"data": [{"paragraphs": [{"context": "c"}]}]}', ["no field 'qas'"]),
    ("a.json", '{"data": [{"paragraphs": [{"context": "c", "qas": [[]]}]}]}', ["qas[0]: found a list"]),
    ("a.json", '{"data": [{"title": 0.5, "paragraphs": []}]}', ["data[0], title: found a number (0.5)"]),
    ("a.json", '{"data": [], "data": []}', ["'data' stands twice"]),
    ("a.json", TEXT.replace('"context"', '"context": "x", "context"', 1), ["'context' stands twice"]),
    ("a.json", TEXT[:-20], ["a.json, line 1", "no JSON"]),
    ("a.json", TEXT + "}", ["more text after the end"]),
    ("a.json", LINE + "\n" + LINE, ["no key 'data'"]),
    ("a.json", TEXT.replace('"version": "1.1"', '"version": NaN'), ["NaN is no JSON"]),
    ("a.json", TEXT.replace('"version": "1.1"', '"version": -Infinity'), ["-Infinity is no JSON"]),
    ("a.json", TEXT.replace('"version": "1.1"', f'"version": {DIGITS}'), ["thousands of digits"]),
    ("a.json", TEXT.replace('"version": "1.1"', '"version": ' + "[" * 100_000), ["nested too deeply"]),
    ("a.json", '{"data": ' + "[" * 100_000, ["nested too deeply"]),
    ("a.json", '{"data": [' + '{"paragraphs": [' * 50_000, ["nested too deeply"]),
    ("a.json", "{'data': []}", ["no JSON", "line 1"]),
    ("a.json", '{"data": [],}', ["line 1"]),
    ("a.json", "id,context,question,answers\n1,c,q,a\n", ["no JSON", "line 1"]),
    ("a.json", b"\x80\x04\x95pickle", ["line 1", "0x80"]),
    ("a.json", TEXT.encode("utf-16"), ["UTF-16"]),
    ("a.json", TEXT.encode("utf-16-le"), ["UTF-16"]),
    ("a.json", TEXT.encode("utf-32"), ["UTF-32"]),
    ("a.json", TEXT.replace("Town", "T\u00f6wn", 1).encode("latin-1"), ["0xf6", "Latin-1"]),
    ("a.json", gzip.compress(TEXT.encode(), mtime=0), ["gzip"]),
    ("a.json", b"PK\x03\x04rest", ["zip"]),
    ("a.json", b"PAR1rest", ["Parquet"]),
    ("a.json", b"version https://git-lfs.github.com/spec/v1\n", ["Git LFS pointer"]),
    ("a.json", "<!DOCTYPE html>", ["no JSON", "<!DOCTYPE"]),
    ("a.jsonl", "", ["a.jsonl is empty"]),
    ("a.jsonl", "\n\n\n", ["no question with an answer"]),
    ("a.jsonl", "3\n", ["line 1: found a number (3)"]),
    ("a.jsonl", "null\n", ["line 1: found null"]),
    ("a.jsonl", f"[{LINE}]\n", ["line 1: found a list"]),
    ("a.jsonl", LINE + "\n\n" + LINE[:-5], ["line 3: no JSON"]),
    ("a.jsonl", LINE + LINE, ["line 1: no JSON"]),
    ("a.jsonl", TEXT, ["a whole SQuAD document", "name the file .json"]),
    ("a.jsonl", json.dumps(squad_document(), indent=1), ["line 1: no JSON"]),
    ("a.jsonl", LINE.replace('"T"', "NaN"), ["line 1: NaN is no JSON"]),
    ("a.jsonl", LINE.replace('"T"', "Infinity"), ["line 1: Infinity is no JSON"]),
    ("a.jsonl", LINE.replace('"T"', DIGITS), ["line 1: a number has thousands of digits"]),
    ("a.jsonl", LINE.replace('"T"', "[" * 100_000), ["line 1: JSON nested too deeply"]),
    ("a.jsonl", LINE.replace('"title"', '"id": "2", "title"'), ["line 1: the key 'id' stands twice"]),
    ("a.jsonl", LINE.replace('"answers"', '"answerz"'), ["line 1: no field 'answers' (did you mean 'answerz'?)"]),
    ("a.jsonl", LINE.replace('"title"', '"answer"'), ["line 1: there are both 'answers' and 'answer'"]),
    ("a.jsonl", f"{LINE}\n{UNNAMED}", ["line 2: no field 'id', but the rows before have one"]),
    ("a.jsonl", f"{UNNAMED}\n{LINE}", ["line 2: a field 'id', but the rows before have none"]),
    ("a.jsonl", f"{UNNAMED}\n{UNNAMED}", ["line 2: the same context and question", "data.columns.id=COLUMN"]),
    ("a.jsonl", LINE.replace("Ada was", "Ada\x01was"), ["line 1: no JSON"]),
    ("a.jsonl", "id,context,question,answers\n1,c,q,a\n", ["line 1: no JSON", "id,context"]),
    ("a.jsonl", (LINE + "\n").encode("utf-16"), ["UTF-16"]),
    ("a.jsonl", LINE.replace("Ada", "Ad\u00e9").replace("\\u00e9", "\u00e9").encode("latin-1"), ["line 1", "0xe9"]),
    ("a.jsonl", gzip.compress(LINE.encode(), mtime=0), ["gzip"]),
    ("a.csv", "", ["a.csv is empty"]),
    ("a.csv", "\n\n", ["no question with an answer"]),
    ("a.csv", "context,question,answer\n", ["no question with an answer"]),
    ("a.csv", "id,context\n1,c\n", ["a.csv, line 1: no field 'question'", "'id', 'context'", "data.columns.question="]),
    ("a.csv", CELLS.replace(",", ";"), ["a.csv, line 1", "is ';' what separates them?"]),
    ("a.csv", CELLS.replace(",", "\t"), ["a.csv, line 1", "a .tsv tabs"]),
    ("a.tsv", CELLS, ["a.tsv, line 1", "is ',' what separates them?"]),
    ("a.csv", CELLS.replace("answer", "answers,answer"), ["line 1: there are both 'answers' and 'answer'"]),
    ("a.csv", CELLS.replace("answer", "question"), ["line 1: no field 'answers'"]),
    ("a.csv", CELLS.replace("context", "answer"), ["line 1: no field 'context'"]),
    ("a.csv", CELLS.replace("answer\n", "answer,answer\n"), ["line 1: the column 'answer' is there twice"]),
    ("a.csv", CELLS + "\nAda was here,Who?\n", ["a.csv, line 4: found 2 cells, expected 3"]),
    ("a.csv", CELLS + "Ada was here, too,Who?,Ada\n", ["a.csv, line 3: found 4 cells, expected 3", "in quotes"]),
    ("a.csv", CELLS + '"Ada" was here,Who?,Ada\n', ["a.csv, line 3: no table"]),
    ("a.csv", CELLS + '"Ada was here,Who?,Ada\n', ["a.csv, line 3: no table"]),
    ("a.csv", CELLS + '"' + "x" * 200_000, ["a.csv, line 3: a cell has more than 131,072 characters"]),
    ("a.csv", CELLS + "x" * ((1 << 24) + 1), ["a.csv, line 3: has more than 16,777,216 bytes"]),
    ("a.csv", CELLS + "Ada, ,Ada\n", ["a.csv, line 3, question: found a blank text"]),
    ("a.csv", CELLS + ",Who?,Ada\n", ["a.csv, line 3, context: found a blank text"]),
    ("a.csv", CELLS + "Ada,Who?, \n", ["a.csv, line 3, answers[0]: found a blank text"]),
    ("a.csv", CELLS + "Ada,Who?,\n", ["1 unanswerable question, first line ", "data.unanswerable=drop"]),
    ("a.csv", CELLS + "Ada,Who?,Bob\n", ["first line 3: the answer 'Bob' is not in the context"]),
    ("a.csv", CELLS + '"Ada\nwas here",Who?,Ada\nAda,,Ada\n', ["a.csv, line 5, question: found a blank text"]),
    ("a.csv", CELLS + "Ada,Who?,['Ada']\n", ["line 3, answers: no JSON", "a cell that begins with a bracket is JSON"]),
    ("a.csv", CELLS + "Ada,Who?,[Ada]\n", ["line 3, answers: no JSON", '["[Ada]"]']),
    ("a.csv", CELLS + "Ada,Who?,{'text': ['Ada']}\n", ["line 3, answers: no JSON"]),
    ("a.csv", CELLS + 'Ada,Who?,"[""Ada"", null]"\n', ["line 3, answers[1]: found null"]),
    ("a.csv", CELLS + "Ada,Who?,Ada\x00\n", ["a.csv is", "no text"]),
    ("a.csv", CELLS + CELLS.partition("\n")[2], ["a.csv, line 3: the same context and question"]),
    ("a.csv", (CELLS + "Ad\u00e9,Who?,A\n").encode("latin-1"), ["a.csv, line 3: the byte 0xe9 is no UTF-8"]),
    ("a.csv", CELLS.encode("utf-16"), ["UTF-16"]),
    ("a.csv", gzip.compress(CELLS.encode(), mtime=0), ["gzip"]),
    ("a.csv", b"PK\x03\x04 a spreadsheet", ["zip"]),
    ("a.csv", TEXT, ["a.csv, line 1: no"]),
    ("a.xlsx", b"PK\x03\x04", ["a.xlsx is no .json, .jsonl, .csv, .tsv or .parquet file"]),
    ("a.json.gz", gzip.compress(TEXT.encode(), mtime=0), ["a.json.gz is no .json"]),
    ("a.parquet", b"", ["a.parquet is empty"]),
    ("a.parquet", b"PAR1", ["a.parquet cannot be read as Parquet"]),
    ("a.parquet", CELLS, ["a.parquet cannot be read as Parquet"]),
    ("a.parquet", b"PAR1" + b"\xff" * 200 + b"PAR1", ["a.parquet cannot be read as Parquet"]),
]

# Arguments

LONG = "x" * 300
ARGUMENTS = [
    (["sweeep"], ["sweeep"]),
    (["sweep"], ["'experiment'"]),
    (["sweep", ""], ["EXPERIMENT is empty"]),
    (["sweep", "nowhere.yaml"], ["no experiment file nowhere.yaml"]),
    (["sweep", "taken"], ["taken is a folder"]),
    (["sweep", "pipe"], ["pipe is a pipe"]),
    (["sweep", "loop"], ["loop is a link to itself"]),
    (["sweep", "notes.txt"], ["notes.txt holds a str"]),
    (["sweep", "model"], ["model is a folder"]),
    (["sweep", LONG], ["too long"]),
    (["sweep", "x/" * 3_000], ["too long"]),
    (["sweep", "a\x1b[2Jb.yaml"], ["a\\x1b[2Jb.yaml"]),
    (["sweep", "a\nerror: b"], ["a\\nerror: b"]),
    (["sweep", "toy.yaml", "more"], ["more"]),
    (["sweep", "toy.yaml", "--outptu", "x"], ["--outptu"]),
    (["sweep", "toy.yaml", "--output"], ["--output"]),
    (["sweep", "toy.yaml", "--output", ""], ["--output is empty"]),
    (["sweep", "toy.yaml", "--output", "notes.txt"], ["notes.txt is a file"]),
    (["sweep", "toy.yaml", "--output", "notes.txt/x"], ["notes.txt is no folder"]),
    (["sweep", "toy.yaml", "--output", "pipe"], ["pipe is a file"]),
    (["sweep", "toy.yaml", "--output", "dangling"], ["dangling is a link to nothing"]),
    (["sweep", "toy.yaml", "--output", "taken"], ["taken holds other files (thesis.tex)"]),
    (["sweep", "toy.yaml", "--output", f"out/{LONG}"], ["too long"]),
    (["sweep", "toy.yaml", "--output=~/runs"], ["'~/runs'", "~ is not read as the home folder"]),
    (["init", "mine.yaml"], ["'mine.yaml' is the name of a file, expected an experiment's: 'mine'"]),
    (["sweep", "toy.yaml", "--output", "a", "--output", "b"], ["--output is given twice"]),
    (["sweep", "toy.yaml", "-o", "a", "--output", "b"], ["--output is given twice"]),
    (["sweep", "toy.yaml", "--resume", "--resume"], ["--resume is given twice"]),
    (["sweep", "toy.yaml", "--controls", "some"], ["--controls takes auto, all or none", "'some'"]),
    (["sweep", "toy.yaml", "--controls", ""], ["--controls is empty"]),
    (["sweep", "toy.yaml", "--json"], ["--json", "--dry-run"]),
    (["sweep", "toy.yaml", "--dry-run", "--track", "tensorboard"], ["--track", "--dry-run"]),
    (["sweep", "toy.yaml", "--tensorboard"], ["--track tensorboard"]),
    (["train", "toy.yaml", "baseline", "--tensorboard"], ["--track tensorboard"]),
    (["sweep", "toy.yaml", "--track", "wandbb"], ["--track takes tensorboard, wandb, mlflow", "'wandbb'"]),
    (["sweep", "toy.yaml", "--track", ""], ["--track is empty"]),
    (["sweep", "toy.yaml", "--set"], ["--set"]),
    (["train", "toy.yaml"], ["'arm'"]),
    (["train", "toy.yaml", ""], ["ARM is empty"]),
    (["train", "toy.yaml", "basline"], ["no arm or control called 'basline'", "'baseline'"]),
    (["train", "toy.yaml", "a\x1b[2J"], ["'a\\x1b[2J'"]),
    (["train", "toy.yaml", "baseline", "r2"], ["r2"]),
    (["train", "nowhere.yaml", "baseline"], ["no experiment file nowhere.yaml"]),
    (["fetch", "squid"], ["no asset called 'squid'"]),
    (["fetch", ""], ["NAMES is empty"]),
    (["fetch", "squad", "squid"], ["no asset called 'squid'"]),
    (["settings", "x"], ["x"]),
    (["evaluate", ""], ["TARGET is empty"]),
    (["evaluate", "model", "--data", ""], ["--data is empty"]),
    (["evaluate", "model", "--data", "nowhere.json"], ["no data file nowhere.json"]),
    (["evaluate", "model", "--data", "taken/x.json"], ["no data file taken/x.json"]),
    (["evaluate", "model", "--data", "notes.txt"], ["notes.txt is no .json"]),
    *(
        (["evaluate", "model", "--data", "test.json", "--samples", value], ["--samples", "positive number or all"])
        for value in ["0", "-1", "1.5", "x", "\u0663", "1e3", DIGITS, "al"]
    ),
    (["evaluate", "model", "--data", "test.json", "--samples", " "], ["--samples is empty"]),
    (["evaluate", "model", "--data", "test.json", "--seed", "x"], ["--seed", "x"]),
    (["evaluate", "model", "--data", "test.json", "--seed", "1.5"], ["--seed", "1.5"]),
    (["evaluate", "model", "--data", "test.json", "--style", "chatty"], ["prompt.style", "'chatty'"]),
    (["evaluate", "model", "--data", "test.json", "--device", "gpu"], ["model.device: 'gpu'"]),
    (["evaluate", "model", "--data", "test.json", "--unanswerable", "keep"], ["--unanswerable", "'keep'"]),
    (["evaluate", "model", "--data", "test.json", "--mismatched", "x"], ["--mismatched", "'x'"]),
    (["evaluate", "model", "--data", "test.json", "--predictions", "taken"], ["taken is a folder"]),
    (["evaluate", "model", "--data", "test.json", "--predictions", "pipe"], ["pipe is no ordinary file"]),
    (["evaluate", "model", "--data", "test.json", "--predictions", "notes.txt/x"], ["notes.txt is no folder"]),
    *(
        (["evaluate", "model", "--data", "test.json", "--columns", value], fragments)
        for value, fragments in [
            ("passage", ["--columns takes FIELD=COLUMN", "'passage'"]),
            ("=x", ["--columns takes FIELD=COLUMN"]),
            ("context=", ["--columns takes FIELD=COLUMN"]),
            ("contxt=passage", ["unknown setting 'columns.contxt' (did you mean 'context'?)"]),
            ("context=3", ["columns.context", "a text"]),
            ("context=[", ["--columns context"]),
            ("context=question", ["context and question both name the column 'question'"]),
            ("context=passage", ["test.json is in SQuAD's format"]),
        ]
    ),
    (["score", "answers.json", "test.json", "--columns", "context=passage"], ["test.json is in SQuAD's format"]),
    (["score", "answers.json", "test.json", "--columns", "id=a", "--columns", "id=b"], ["--columns id is given twice"]),
    (["evaluate", LONG, "--data", "test.json"], ["too long"]),
    (["evaluate", "loop", "--data", "test.json"], ["loop is no folder"]),
    (["export", "loop", "out"], ["loop is no arm's folder"]),
    (["export", "nowhere", "out"], ["nowhere is no arm's folder"]),
    (["export", "taken", "out"], ["taken is no arm's folder"]),
    (["export", "notes.txt", "out"], ["notes.txt is no arm's folder"]),
    (["export", LONG, "out"], ["too long"]),
    (["export", "taken", ""], ["TARGET is empty"]),
    (["export", "taken", "notes.txt"], ["notes.txt is a file"]),
    (["export", "taken", "notes.txt/x"], ["notes.txt is no folder"]),
    (["score", "nowhere.json", "test.json"], ["no predictions file nowhere.json"]),
    (["score", "taken", "test.json"], ["taken is a folder"]),
    (["score", "pipe", "test.json"], ["pipe is a pipe"]),
    (["score", "notes.txt", "test.json"], ["notes.txt: no JSON"]),
    (["score", "answers.json", "nowhere.json"], ["no data file nowhere.json"]),
    (["score", "answers.json", "pipe"], ["pipe is no .json"]),
    (["score", "answers.json", ""], ["DATA is empty"]),
    (["score", "answers.json", "test.json", "--unanswerable", "x"], ["--unanswerable", "'x'"]),
    (["score", "test.json", "test.json"], ["answer to 'data': found a list"]),
    *(
        ([*command, path], fragments)
        for command in (["compare"], ["verdict"], ["best"], ["report"], ["postprocess"])
        for path, fragments in [
            ("", ["is empty"]),
            ("nowhere", ["nowhere"]),
            ("notes.txt", ["notes.txt"]),
            ("pipe", ["pipe"]),
            ("taken", ["taken"]),
            (LONG, ["too long"]),
        ]
    ),
    *(
        ([*command, path], fragments)
        for command in (["publish"], ["plot"])
        for path, fragments in [
            ("", ["is empty"]),
            ("nowhere", ["no nowhere"]),
            ("pipe", ["pipe is neither"]),
            ("taken", ["taken"]),
            (LONG, ["too long"]),
        ]
    ),
    (["compare", "taken", "--sort", "beauty"], ["--sort", "'beauty'"]),
    (["compare"], ["'results'"]),
    (["verdict"], ["BASELINE"]),
    *(
        (["verdict", "test.json", path], fragments)
        for path, fragments in [
            ("nowhere.csv", ["nowhere.csv"]),
            ("notes.txt", ["test.json"]),  # the first is read first, and is no log
        ]
    ),
    (["report", "taken", "--into", "model"], ["model is a folder"]),
    (["report", "taken", "--into", "pipe"], ["pipe is no ordinary file"]),
    (["publish", "taken", "--record", "model"], ["model is a folder"]),
    (["publish", "taken", "--record", "a.json", "--short"], ["--short"]),
    (["publish", "taken", "--record", "a.json", "--into", "a.json"], ["both name a.json"]),
    (["plot", "taken", "--output", "notes.txt"], ["notes.txt is a file"]),
]


def label(case):
    """Return a short name of a case for pytest."""
    return "".join(one if one in string.ascii_letters + string.digits + "=.,-" else "_" for one in str(case))[:50]


def sweep(*overrides, file="toy.yaml"):
    """Return the arguments of a sweep into a new folder."""
    return ["sweep", file, "--output", "out", *(part for one in overrides for part in ("--set", one))]


@pytest.mark.parametrize(("override", "fragments"), OVERRIDES, ids=label)
def test_a_bad_override_is_refused(here, thinwire, override, fragments):
    refused(here, thinwire, sweep(override), fragments)


@pytest.mark.parametrize(("overrides", "fragments"), TWO_OVERRIDES, ids=label)
def test_bad_overrides_together_are_refused(here, thinwire, overrides, fragments):
    refused(here, thinwire, sweep(*overrides), fragments)


@pytest.mark.parametrize(("content", "fragments"), FILES, ids=label)
def test_a_bad_experiment_file_is_refused(here, thinwire, content, fragments):
    (here / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    refused(here, thinwire, sweep(file="bad.yaml"), fragments)


def test_a_chain_of_ten_thousand_files_is_refused(here, thinwire):
    chain = here / "chain"
    chain.mkdir()
    for number in range(10_000):
        (chain / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    refused(here, thinwire, sweep(file="chain/0.yaml"), ["extends 20 files"])


@pytest.mark.parametrize(("change", "fragments"), ROWS, ids=label)
def test_a_bad_row_is_refused(here, thinwire, change, fragments):
    rows = [{**ROW, **change}, {**ROW, "id": "2"}]
    (here / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused(here, thinwire, sweep("data.train=bad.jsonl"), ["bad.jsonl", *fragments])


@pytest.mark.parametrize(("change", "fragments"), ROWS, ids=label)
def test_a_bad_question_of_a_squad_file_is_refused(here, thinwire, change, fragments):
    row = {**ROW, **change}
    qas = [{key: row[key] for key in row if key not in ("title", "context")}]
    qas.append({**ROW, "id": "2", "answers": [{"text": "Ada", "answer_start": 0}]})
    article = {"title": row["title"], "paragraphs": [{"context": row["context"], "qas": qas[:1]}]}
    article["paragraphs"].append({"context": ROW["context"], "qas": qas[1:]})
    (here / "bad.json").write_text(json.dumps({"data": [article]}))
    found = [one for one in fragments if not one.startswith("line 1")]
    counted = not any("data.mismatched" in one or "unanswerable" in one for one in fragments)
    refused(here, thinwire, sweep("data.train=bad.json"), ["bad.json", *found, *(["data[0]"] if counted else [])])


@pytest.mark.parametrize(("field", "fragments"), MISSING)
def test_a_row_without_a_field_is_refused(here, thinwire, field, fragments):
    (here / "bad.jsonl").write_text(json.dumps({key: value for key, value in ROW.items() if key != field}))
    refused(here, thinwire, sweep("data.train=bad.jsonl"), ["bad.jsonl", *fragments])


@pytest.mark.parametrize(("name", "content", "fragments"), DATA_FILES, ids=label)
def test_a_bad_data_file_is_refused(here, thinwire, name, content, fragments):
    (here / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    refused(here, thinwire, sweep(f"data.train={name}"), fragments)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.parquet"])
def test_a_data_file_that_is_none_is_refused(here, thinwire, make, name):
    make(here / name)
    refused(here, thinwire, sweep(f"data.train={name}"), [name, "a pipe" if make is os.mkfifo else "a folder"])


@pytest.mark.parametrize(("arguments", "fragments"), ARGUMENTS, ids=label)
def test_bad_arguments_are_refused(here, thinwire, arguments, fragments):
    refused(here, thinwire, arguments, fragments)


def test_there_are_as_many_cases_as_are_promised():
    tables = (OVERRIDES, TWO_OVERRIDES, FILES, ROWS, ROWS, MISSING, DATA_FILES, ARGUMENTS)
    assert sum(map(len, tables)) >= 650


# What is right

FLAT = [{**ROW, "id": str(n), "context": f"Ada came in {n}.", "title": f"T{n}"} for n in range(4)]
TABLE = "context,question,answer\n" + "".join(f"Ada came in {n}.,Who?,Ada\n\n" for n in range(4))
GOOD_ROWS = [
    {"answers": "Ada"},
    {"answers": ["Ada"]},
    {"answers": ["Ada", "the countess"]},
    {"answers": {"text": ["Ada"], "answer_start": [0]}},
    {"answers": {"text": ["Ada"]}},
    {"answers": [{"text": "Ada", "answer_start": 0}]},
    {"answers": [{"text": "Ada"}]},
    {"title": None},
    {"title": ""},
    {"paragraph": 3, "score": 0.5, "extra": {"a": [None]}},
    {"question": "\u00bfQui\u00e9n? \U0001f600"},
    {"question": "\x1b[2J Who?"},
    {"is_impossible": False},
    {"id": 7},
    {"title": 3},
    {"answers": 0},
    {"answers": ["Ada", 0]},
]
GOOD_FILES = [
    BASE + ARMS,
    "\ufeff" + BASE + ARMS,
    "# comment\n---\n" + BASE + ARMS,
    BASE + ARMS + "seed: -3\nlora: {alpha: 1e1, dropout: 0}\n",
    BASE + "arms: {baseline: {}, yes: {}, 'no': {}, r1.5: {}}\n",
    BASE + "arms:\n  baseline:\n  a: &a {lora: {rank: 2}}\n  b: {<<: *a, lora: {rank: 1}}\n",
    BASE + ARMS + "description: 2024-13-45\n",
    BASE + ARMS + 'description: "two\\nlines, caf\\u00e9 \\U0001F600"\n',
    "extends: toy.yaml\nname: mine\n",
]
GOOD_OVERRIDES = [
    "lora.alpha=3e-4",
    "lora.alpha=3",
    "seed=-7",
    "seeds=[1, 2]",
    "data.test_articles=null",
    "context=false",
]


@pytest.mark.parametrize("change", GOOD_ROWS, ids=label)
def test_a_good_row_is_accepted(here, thinwire, change):
    (here / "good.jsonl").write_text(
        "".join(json.dumps({**row, **change}) + "\n" for row in FLAT[:1])
        + "".join(json.dumps(row) + "\n" for row in FLAT[1:])
    )
    assert thinwire(*sweep("data.train=good.jsonl", "data.samples=1"), "--dry-run")[0] == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", TEXT),
        ("a.json", "\ufeff" + TEXT),
        ("a.JSON", TEXT),
        ("a.json", json.dumps(squad_document(), indent=2)),
        ("a.jsonl", "\ufeff" + "\r\n".join(map(json.dumps, FLAT))),
        ("a.jsonl", "\n\n".join(map(json.dumps, FLAT))),
        ("a.json", json.dumps(FLAT)),
        ("a.json", json.dumps([{key: row[key] for key in ("context", "question", "answers")} for row in FLAT])),
        ("a.csv", "\ufeff" + TABLE),
        ("a.CSV", TABLE.replace("\n", "\r\n")),
        ("a.tsv", TABLE.replace(",", "\t")),
        ("a.csv", TABLE.replace("context,", ",context,").replace("Ada came", "7,Ada came")),
    ],
    ids=label,
)
def test_a_good_data_file_is_accepted(here, thinwire, name, content):
    (here / name).write_bytes(content.encode("utf-8"))
    assert thinwire(*sweep(f"data.train={name}", "data.samples=1"), "--dry-run")[0] == 0


@pytest.mark.parametrize("content", GOOD_FILES, ids=label)
def test_a_good_experiment_file_is_accepted(here, thinwire, content):
    (here / "good.yaml").write_text(content, encoding="utf-8")
    assert thinwire(*sweep(file="good.yaml"), "--dry-run")[0] == 0


@pytest.mark.parametrize("override", GOOD_OVERRIDES)
def test_a_good_override_is_accepted(here, thinwire, override):
    assert thinwire(*sweep(override), "--dry-run")[0] == 0


def test_fewer_questions_than_asked_for_are_told(here, thinwire):
    code, out, _ = thinwire(*sweep("data.samples=100"), "--dry-run")
    assert code == 0
    assert "16 training questions, fewer than the 100 asked for (data.samples)" in " ".join(out.split())


# Fuzzers

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["auto", "all", "pca"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
GROUPS = ("seed", "seeds", "arms", "arms.r2", "controls.x", "search", "interactions.x", "model", "data", "lora", "name")
MORE = ("lora.targets", "report.next_steps", "verdict", "codec", "report")
PATHS = st.sampled_from([*INTEGERS, *NUMBERS, *GROUPS, *MORE])
ANY_CASE = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


def only_typed_errors(read, *arguments):
    """Call a reader, which may refuse what it gets, but only with the package's errors and in time."""
    with limited(SECONDS), suppress(UsageError):
        read(*arguments)


def test_no_settings_make_another_error(here, long_form):
    @settings(max_examples=1_500 if long_form else 300, **ANY_CASE)
    @given(PATHS, VALUES)
    def overrides(path, value):
        only_typed_errors(load_experiment, here / "toy.yaml", [f"{path}={json.dumps(value)}"])

    @settings(max_examples=1_500 if long_form else 300, **ANY_CASE)
    @given(st.text(max_size=40) | st.text(alphabet="[]{}:,-&*!|>'\"#\n \ta1?%@`~<", max_size=60))
    def texts(text):
        (here / "fuzz.yaml").write_bytes((BASE + ARMS + text).encode("utf-8", "surrogatepass"))
        only_typed_errors(load_experiment, here / "fuzz.yaml")
        only_typed_errors(load_experiment, here / "toy.yaml", [text])

    overrides()
    texts()


def test_no_data_make_another_error(here, long_form):
    @settings(max_examples=1_500 if long_form else 300, **ANY_CASE)
    @given(st.dictionaries(st.sampled_from([*ROW, "is_impossible", "paragraph"]), VALUES, max_size=3), VALUES)
    def rows(change, whole):
        for value in ({**ROW, **change}, whole):
            (here / "fuzz.jsonl").write_text(json.dumps(value))
            only_typed_errors(read_examples, here / "fuzz.jsonl")
            article = {"title": "T", "paragraphs": [{"context": "Ada was here.", "qas": [value]}]}
            for document in ({"data": [article]}, {"data": value}, {"data": [{"paragraphs": value}]}, value):
                (here / "fuzz.json").write_text(json.dumps(document))
                only_typed_errors(read_examples, here / "fuzz.json")

    @settings(max_examples=1_500 if long_form else 300, **ANY_CASE)
    @given(st.integers(0, len(TEXT)), st.integers(0, 30), st.binary(max_size=8))
    def changed_bytes(at, cut, new):
        content = TEXT.encode()
        (here / "fuzz.json").write_bytes(content[:at] + new + content[at + cut :])
        only_typed_errors(read_examples, here / "fuzz.json")

    @settings(max_examples=1_500 if long_form else 300, **ANY_CASE)
    @given(st.integers(0, len(TABLE)), st.integers(0, 30), st.text(alphabet=',"[]{}:\r\n\t\0 a1', max_size=12))
    def changed_table(at, cut, new):
        for ending in ("csv", "tsv"):
            (here / f"fuzz.{ending}").write_text(TABLE[:at] + new + TABLE[at + cut :], newline="")
            only_typed_errors(read_examples, here / f"fuzz.{ending}")

    rows()
    changed_bytes()
    changed_table()
