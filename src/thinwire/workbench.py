"""What the arms of a sweep share, each thing made once: questions, token ids, codecs, starting adapters."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import thinwire
from thinwire.adapter import Adapter
from thinwire.assets import cache_dir, locked
from thinwire.batching import token_counts
from thinwire.codecs import Codec, PCACodec, codec_class
from thinwire.codecs.table_training import resolve_steps
from thinwire.codecs.vq_training import resolve_vq_steps
from thinwire.config import ArmConfig, Experiment
from thinwire.determinism import generator
from thinwire.errors import UsageError
from thinwire.finished import find_arm, opened
from thinwire.memory import replays_passes
from thinwire.model import LanguageModel
from thinwire.objective import table_mean_square
from thinwire.pass_loss import Teacher
from thinwire.precision import fast_dtype
from thinwire.progress import Display
from thinwire.prompts import Encoded, PromptEncoder
from thinwire.reader import AdapterReader, CodecReader, Reader
from thinwire.reconstruction import measure, measure_by_frequency, train_reconstruction
from thinwire.records import content_hash, read_json, replacing, write_json
from thinwire.splits import Questions, Splits

logger = logging.getLogger(__name__)

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class EncodedQuestions:
    """The same as token ids, in one arm's prompt style."""

    encoder: PromptEncoder
    train: list[Encoded]
    selection: list[Encoded]
    test: list[Encoded]


class Workbench:
    """Makes what an arm needs and keeps it for the next arm that needs the same."""

    def __init__(
        self,
        experiment: Experiment,
        lm: LanguageModel,
        codec_folder: Path,
        display: Display,
        *,
        memory_share: float = 1.0,
    ) -> None:
        self.lm = lm
        self.memory_share = memory_share
        """Of the machine's memory, what this process may take: others may run arms beside it."""
        self.compile_layers = experiment.model.compile
        self.replay_passes = replays_passes(lm, experiment.model.cuda_graphs)
        self._seed = experiment.seed
        self._splits = Splits(experiment.data, experiment.seed)
        self._codec_folder = codec_folder
        self._display = display
        self._made: dict[Hashable, object] = {}

    def _once(self, key: object, make: Callable[[], Made]) -> Made:
        digest = content_hash(key)
        if digest not in self._made:
            self._made[digest] = make()
        made: Made = self._made[digest]  # type: ignore[assignment]
        return made

    def resolve(self, arm: ArmConfig) -> ArmConfig:
        """``arm`` with every "auto" that decides a figure replaced by its value on this device."""
        if arm.evaluation.samples == "auto" and self.lm.device.type != "cuda":
            self._once("note on a CPU", _say_that_a_cpu_scores_fewer)
        return resolved(arm, self.lm.device)

    def questions(self, arm: ArmConfig) -> Questions:
        """The questions that a resolved arm trains on, is chosen by and is scored on."""
        return self._splits.drawn(arm)

    def encoded(self, arm: ArmConfig) -> EncodedQuestions:
        """The arm's questions as token ids."""

        def encode() -> EncodedQuestions:
            questions = self.questions(arm)
            encoder = PromptEncoder(self.lm.tokenizer, arm.prompt, with_context=arm.context)
            made = EncodedQuestions(
                encoder=encoder,
                train=[encoder.encode(example, keep_answer=True) for example in questions.train],
                selection=[encoder.encode(example) for example in questions.selection],
                test=[encoder.encode(example) for example in questions.test],
            )
            cut = sum(question.dropped > 0 for question in (*made.train, *made.selection, *made.test))
            if cut:
                logger.info("%d prompts were longer than prompt.max_tokens; they were shortened", cut)
            self._refuse_what_no_window_holds(made, arm)
            return made

        return self._once(["encoded", *_prompt_key(arm)], encode)

    def _refuse_what_no_window_holds(self, questions: EncodedQuestions, arm: ArmConfig) -> None:
        """Attention would refuse it too, but only when it comes to that question."""
        asked, window = (*questions.train, *questions.selection, *questions.test), self.lm.window
        room = max(arm.evaluation.max_new_tokens, arm.supervision.k_tokens)
        longest = max(len(question.prompt_ids) for question in asked) + room
        if window is not None and longest > window:
            raise UsageError(
                f"some layers of {self.lm.name} attend to the last {window} tokens alone, but the longest prompt and "
                f"its answer have {longest}; shorten prompts: prompt.max_tokens={window - room}"
            )

    def training_tokens(self, arm: ArmConfig) -> int:
        """Tokens of the prompts that the arm trains on, in all its epochs."""
        epochs = arm.training.epochs if arm.has_trainable else 0
        return epochs * sum(len(question.prompt_ids) for question in self.encoded(arm).train)

    def counts(self, arm: ArmConfig) -> Tensor:
        """How often each token occurs in the arm's training prompts, ``[V]`` float64, on the CPU."""
        return self._once(
            ["counts", *_prompt_key(arm)], lambda: token_counts(self.encoded(arm).train, len(self.lm.table))
        )

    def mean_square(self, arm: ArmConfig) -> float:
        """The unit of the squared error: mean square of the table as the training prompts see it."""
        return self._once(
            ["mean square", *_prompt_key(arm)], lambda: table_mean_square(self.lm.table, self.counts(arm))
        )

    def codec(self, arm: ArmConfig) -> tuple[Codec, Path]:
        """The fitted codec, on the model's device, and the file that holds it."""
        key = ["codec", arm.codec.model_dump(), *_prompt_key(arm)]

        def fit() -> tuple[Codec, Path]:
            kind = codec_class(arm.codec)
            path = self._codec_folder / f"{arm.codec.kind}-{content_hash(self._codec_key(arm))[:12]}.safetensors"
            if not path.exists():
                # The experiment's seed, not the arm's: trainings with several seeds share their codec.
                codec = kind.fit(self.lm.table, self.counts(arm), arm.codec, self._seed)
                codec.save(path)
            # A finished arm's adapter belongs to this very file: a resumed sweep reads it, and never fits anew.
            codec = kind.load(path).to(self.lm.device)
            width, figures = self.lm.table.shape[1], codec.figures().items()
            said = ", ".join(f"{name} {value:.3f}" for name, value in figures)
            logger.info("codec %s: %d to %d numbers a token, %s", arm.codec.kind, width, codec.code_width, said)
            for alarm in codec.alarms():
                logger.warning("codec %s: %s", arm.codec.kind, alarm)
            return codec, path

        return self._once(key, fit)

    def reader(self, arm: ArmConfig) -> Reader:
        """What the arm's model reads at the start of its training: a fresh copy, for the arm to change."""
        if arm.reads == "text":
            return Reader(self.lm.table)
        codec, _ = self.codec(arm)
        codes = self._once(["codes", arm.codec.model_dump(), *_prompt_key(arm)], lambda: codec.encode(self.lm.table))
        if arm.reads == "codec":
            return CodecReader(codes, codec)
        adapter = Adapter(codec, arm.adapter, generator("cpu", arm.seed, "adapter")).to(self.lm.device)
        reader = AdapterReader(codes, codec, adapter)
        if arm.reconstruction.steps != 0:
            adapter.load_state_dict(self._starting_adapter(arm, reader))
        return reader

    def make_shared(self, arms: Iterable[ArmConfig]) -> None:
        """Leave the arms' codecs and starting adapters in folder and cache, for other processes to find."""
        for arm in arms:
            if arm.reads != "text":
                try:
                    self.codec(arm)
                    if arm.reads == "adapter":  # the figures of codes alone are no file
                        self.at_start(arm, self.reader(arm))
                except Exception:
                    logger.debug("not made beforehand", exc_info=True)

    def teacher(self, arm: ArmConfig) -> Teacher | None:
        """The finished arm that teaches ``arm``; None where none is named, or nothing is distilled.

        Raises:
            UsageError: its folder is no finished arm's, or its model has another vocabulary.
        """
        folder = arm.supervision.teacher
        if folder is None or arm.supervision.kd_weight == 0:
            return None

        def open_teacher() -> Teacher:
            logger.info("opening %s, which teaches", folder)
            lm, reader = opened(find_arm(Path(folder), device=str(self.lm.device)))
            if len(lm.table) != len(self.lm.table):
                raise UsageError(
                    f"{folder} cannot teach: the vocabulary of its {lm.name} has {len(lm.table):,} entries, that of "
                    f"{self.lm.name} {len(self.lm.table):,}; choose an arm of the same model (supervision.teacher)"
                )
            return lm, reader

        return self._once(["teacher", folder], open_teacher)

    def figures(self, arm: ArmConfig, reader: Reader) -> dict[str, Any]:
        """How well ``reader`` rebuilds the table: ``reconstruction``, weighted by the arm's training prompts, and
        ``by_frequency``, the same in buckets of token frequency."""
        counts, table = self.counts(arm), self.lm.table
        rows = counts.nonzero()[:, 0].to(table.device)
        rebuilt, seen = reader.rows(rows, torch.float32), counts[counts > 0]
        return {
            "reconstruction": measure(rebuilt, rows, table, seen, self.mean_square(arm)).as_dict(),
            "by_frequency": measure_by_frequency(rebuilt, rows, table, seen),
        }

    def at_start(self, arm: ArmConfig, reader: Reader) -> dict[str, Any]:
        """``figures`` of a reader that no arm has changed yet: measured once for each starting adapter, and cached
        beside it."""

        if not isinstance(reader, AdapterReader):
            key = ["at start", arm.reads, arm.codec.model_dump(), *_prompt_key(arm)]
            return self._once(key, lambda: self.figures(arm, reader))
        adapter_key = self._adapter_key(arm)
        path = cache_dir() / "adapters" / f"{content_hash(adapter_key)}.json"

        def cached() -> dict[str, Any]:
            with locked(path.with_suffix("")):
                if not path.exists():
                    write_json(path, self.figures(arm, reader))
                figures: dict[str, Any] = read_json(path)
            return figures

        return self._once(["at start", adapter_key], cached)

    def text_bits_per_token(self, arm: ArmConfig) -> float:
        """Bits that the training prompts take as UTF-8, per token."""
        questions = self.encoded(arm)
        num_bytes = sum(len(questions.encoder.render(q.example).encode()) for q in questions.train)
        return 8 * num_bytes / sum(len(q.prompt_ids) + q.dropped for q in questions.train)

    def _codec_key(self, arm: ArmConfig) -> dict[str, Any]:
        """All that decides a codec, but for rounding."""
        return {
            "table": self._once("table hash", self.lm.table_hash),
            "counts": self.counts(arm).tolist(),
            "codec": arm.codec.model_dump(),
            "codec_seed": self._seed,
        }

    def _adapter_key(self, arm: ArmConfig) -> dict[str, Any]:
        """All that decides a starting adapter."""
        questions, (codec, _) = self.encoded(arm).train, self.codec(arm)
        return {
            **self._codec_key(arm),
            # Rounding moves PCA's floats by as little; it makes some integers others, and a training goes its own way.
            "codes": None if type(codec) is PCACodec else codec.fingerprint(),
            "made_by": [thinwire.__version__, torch.__version__, self.lm.device.type, str(fast_dtype(self.lm.device))],
            "prompts": [q.prompt_ids for q in questions] if arm.reconstruction.mode == "sequence" else None,
            "adapter": arm.adapter.model_dump(),
            "reconstruction": arm.reconstruction.model_dump(),
            "seed": arm.seed,
        }

    def _starting_adapter(self, arm: ArmConfig, reader: AdapterReader) -> dict[str, Tensor]:
        key = self._adapter_key(arm)

        def make() -> dict[str, Tensor]:
            path = cache_dir() / "adapters" / f"{content_hash(key)}.safetensors"
            with locked(path.with_suffix("")):
                if path.exists():
                    logger.info("starting adapter: cached")
                else:
                    self._train_starting_adapter(arm, reader)
                    with replacing(path) as temporary:
                        save_file(
                            {name: p.detach().cpu() for name, p in reader.adapter.named_parameters()},
                            temporary,
                        )
            tensors: dict[str, Tensor] = load_file(path)
            return tensors

        return self._once(key, make)

    def _train_starting_adapter(self, arm: ArmConfig, reader: AdapterReader) -> None:
        with self._display.task("reconstruction") as task:
            train_reconstruction(
                reader,
                self.lm.table,
                self.counts(arm),
                self.mean_square(arm),
                self.encoded(arm).train,
                arm.reconstruction,
                arm.seed,
                lambda step, total, cosine: task.update(step, total, f"cosine {cosine:.3f}"),
            )


def resolved(arm: ArmConfig, device: torch.device) -> ArmConfig:
    """``arm`` with every "auto" that decides a figure replaced by its value on ``device``."""
    on_gpu = device.type == "cuda"
    numbers: dict[str, int] = {}
    if arm.evaluation.samples == "auto":
        numbers["samples"] = 1000 if on_gpu else 100
    if arm.evaluation.selection_samples == "auto":
        numbers["selection_samples"] = 500 if on_gpu else 50
    steps, codec = resolve_steps(arm.reconstruction.steps, device), arm.codec
    vq = codec.vq.model_copy(update={"steps": resolve_vq_steps(codec.vq, device)})
    autoencoder = codec.autoencoder.model_copy(update={"steps": resolve_steps(codec.autoencoder.steps, device)})
    return arm.model_copy(
        update={
            "evaluation": arm.evaluation.model_copy(update=numbers),
            "codec": codec.model_copy(update={"vq": vq, "autoencoder": autoencoder}),
            "reconstruction": arm.reconstruction.model_copy(update={"steps": steps}),
        }
    )


def _say_that_a_cpu_scores_fewer() -> None:
    logger.info("scoring 100 test questions, as this is a CPU (evaluation.samples sets another number)")


def _prompt_key(arm: ArmConfig) -> list[object]:
    """What decides an arm's token ids, beside the experiment's own data and seed."""
    evaluation = arm.evaluation
    return [arm.prompt.model_dump(), arm.context, evaluation.samples, evaluation.selection_samples]
