"""A new codec needs only its file and one line in codecs/table.py: settings, training, records and reports follow."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import thinwire
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.table import CODECS, codec_class
from thinwire.errors import UsageError
from thinwire.results.arm_record import read_arm_record
from tiny_models import save_sweep_inputs

TOY = '''
"""Keep the first numbers of an embedding, scaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from thinwire.codecs.base import Codec
from thinwire.codecs.settings import CodecConfig
from thinwire.results.arm_record import CodecMetric
from thinwire.results.tensor_file import Layout, TensorType
from thinwire.schema import Rate, Section


class ToyConfig(Section):
    """The first numbers of an embedding (``codec.kind=toy``)."""

    scale: Rate = 1.0
    """Factor of the numbers."""


@dataclass(frozen=True, kw_only=True)
class ToyCodec(Codec):
    Settings: ClassVar[type[Section] | None] = ToyConfig
    fields: ClassVar[tuple[str, ...]] = ("scale", "weight")

    scale: Tensor
    weight: Tensor

    @classmethod
    def fit(cls, matrix: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        width, scale = config.code_width(matrix.shape[1]), config.own(ToyConfig).scale
        return cls(scale=torch.tensor(scale), weight=torch.eye(matrix.shape[1])[:, :width] / scale)

    @classmethod
    def layout(cls, config: CodecConfig, embedding_width: int) -> Layout:
        width = config.code_width(embedding_width)
        return {"scale": TensorType("F32", ()), "weight": TensorType("F32", (embedding_width, width))}

    @property
    def code_width(self) -> int:
        return self.weight.shape[1]

    def _encode(self, embeddings: Tensor) -> Tensor:
        return embeddings.float()[:, : self.code_width] * self.scale

    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.weight, torch.zeros(len(self.weight)), torch.ones(self.code_width)

    def metrics(self) -> tuple[CodecMetric, ...]:
        return (CodecMetric(name="kept", label="numbers kept", value=self.code_width / len(self.weight)),)
'''


@pytest.fixture
def package(tmp_path):
    """Copy the package and add the toy codec: its file, its line in codecs/table.py and the import."""
    copy = tmp_path / "src" / "thinwire"
    shutil.copytree(Path(thinwire.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "codecs" / "toy.py").write_text(TOY.lstrip())
    file = copy / "codecs" / "table.py"
    table = file.read_text().replace('    "vq": VQCodec,\n', '    "vq": VQCodec,\n    "toy": ToyCodec,\n')
    imported = "from thinwire.codecs.vq import VQCodec\n"
    file.write_text(table.replace(imported, f"from thinwire.codecs.toy import ToyCodec\n{imported}"))
    return copy.parent


def command(package, *arguments, cache):
    environment = {**os.environ, "PYTHONPATH": str(package), "THINWIRE_CACHE": str(cache)}
    return subprocess.run(
        [sys.executable, "-m", "thinwire", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_codec_of_one_file_is_trained_recorded_and_reported(package, tmp_path):
    folder = save_sweep_inputs(tmp_path / "inputs")
    experiment = {
        "name": "toy",
        "model": {"name": str(folder / "model"), "device": "cpu", "dtype": "float32"},
        "data": {"train": str(folder / "train.json"), "test": str(folder / "test.json"), "samples": 4}
        | {"selection_articles": 2},
        "adapter": {"hidden": 8},
        "reconstruction": {"steps": 5, "batch_rows": 16},
        "training": {"epochs": 1, "batch_size": 4},
        "evaluation": {"samples": 4, "selection_samples": 2, "max_new_tokens": 2},
        "verdict": {"resamples": 100},
        "arms": {"baseline": {}, "toy": {"codec": {"kind": "toy", "ratio": 2, "toy": {"scale": 4}}}},
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(experiment))
    run = tmp_path / "run"
    done = command(package, "sweep", tmp_path / "toy.yaml", "--output", run, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    record = read_arm_record(run / "toy")
    assert record.config["codec"]["toy"] == {"scale": 4.0}
    assert record.done.codec.label == "toy"
    assert [(metric.label, metric.value) for metric in record.done.codec.metrics] == [("numbers kept", 0.5)]
    assert record.done.trainable_parameters.adapter > 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "numbers kept" in page
    assert "codec.toy.scale" in command(package, "settings", cache=tmp_path / "cache").stdout
    refused = command(
        package, "train", tmp_path / "toy.yaml", "toy", "--set", "codec.toy.scale=-1", cache=tmp_path / "cache"
    )
    assert (refused.returncode, "codec.toy.scale" in refused.stderr) == (2, True)


def test_without_its_line_the_kind_is_refused_and_the_others_are_named():
    with pytest.raises(UsageError, match=f"'toy' is no codec; there are: {', '.join(CODECS)}"):
        codec_class(CodecConfig(kind="toy"))
