"""Run the arms of one sweep into its folder, and write header and summary."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from thinwire import interruption
from thinwire.config.auto import resolved
from thinwire.config.experiment import Experiment
from thinwire.data.splits import Splits
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.disk_space import bytes_to_write, check_space
from thinwire.experiment.group_run import run_group
from thinwire.experiment.plan import Planned
from thinwire.experiment.resume import finished_record, with_resume_point
from thinwire.experiment.resume_points import committed, remove_superseded
from thinwire.experiment.runtime import make_runtime
from thinwire.experiment.scheduling import group, max_group_size, num_worker_processes
from thinwire.experiment.search import with_choices
from thinwire.experiment.worker_processes import run_in_worker_processes
from thinwire.files import content_hash, remove_partial_files, write_bytes, write_text
from thinwire.model.language_model import LanguageModel
from thinwire.progress import Display
from thinwire.report import compare
from thinwire.report.summary import summary_text
from thinwire.results.arm_record import ArmRecord, QuestionHashes, read_arm_record
from thinwire.results.experiment_file import write_experiment_file
from thinwire.results.layout import CODEC_FOLDER, SUMMARY_FILE, arm_folder
from thinwire.results.provenance import environment, now
from thinwire.results.search_record import read_search_record
from thinwire.results.sweep_header import FORMAT, SweepHeader, SweepModel, write_header
from thinwire.results.tensorboard import TENSORBOARD_FOLDER, write_scalars

logger = logging.getLogger(__name__)


class SweepRun:
    """Runs planned arms in a folder that no other process uses: first ``begin``, then ``run``."""

    def __init__(
        self,
        experiment: Experiment,
        lm: LanguageModel,
        folder: Path,
        display: Display,
        *,
        before: SweepHeader | None,
        splits: Splits | None = None,
    ) -> None:
        """Make the runtime; nothing is read or written yet.

        Args:
            before: header of the sweep to resume in ``folder``, if there is one.
            splits: the experiment's questions, if they have been read.
        """
        self._experiment, self._folder, self._before = experiment, folder, before
        self._splits = splits or Splits(experiment.data, experiment.seed)
        self._runtime = make_runtime(experiment, lm, display)
        self._artifacts = ArtifactCache(experiment, lm, folder / CODEC_FOLDER, display, self._splits)
        self._runs: list[Planned] = []
        self._done: dict[str, ArmRecord] = {}
        self._groups: list[list[Planned]] = []
        self._num_processes = 1

    @property
    def splits(self) -> Splits:
        """The questions of all arms."""
        return self._splits

    def begin(self, planned: Sequence[Planned]) -> None:
        """Prepare ``run``, with the values that a search has chosen, and write header and experiment.

        All that may be refused is checked before anything is written. May be called again when a search has made its
        choices.

        Raises:
            UsageError: the questions cannot be read, or other settings cannot be carried out.
            ThinwireError: the folder holds a finished arm of other settings, model or questions.
            StorageError: the disk has no room for what is left to run.
        """
        interruption.check()
        lm, experiment = self._runtime.lm, self._experiment
        chosen = with_choices(experiment, planned, read_search_record(self._folder))
        self._runs = [replace(run, config=resolved(run.config, lm.device.type)) for run in chosen]
        records = {run.name: finished_record(run, self._folder, self._data(run), lm) for run in self._runs}
        self._done = {name: record for name, record in records.items() if record}
        left = [run for run in self._runs if run.name not in self._done]
        points = committed(self._folder)
        left = [with_resume_point(run, self._folder, self._data(run), lm, points) for run in left]
        self._groups = group(left, max_group_size(lm, experiment.group_size))
        num_tokens = sum(self._artifacts.questions(run.config).training_tokens(run.config) for run in left)
        self._num_processes = num_worker_processes(
            lm, experiment.worker_processes, num_groups=len(self._groups), num_tokens=num_tokens
        )
        if left:
            questions = self._artifacts.questions(left[0].config).encoded
            needed = bytes_to_write(
                self._groups,
                lm,
                num_train=len(questions.train),
                num_test=len(questions.test),
                num_groups_at_once=self._num_processes,
            )
            check_space(self._folder, needed)
        self._before = self._header()
        remove_partial_files(self._folder)
        self._remove_superseded(self._done)
        write_experiment_file(self._folder, experiment.model_dump(mode="json"))
        write_header(self._folder, self._before)
        write_bytes(self._folder / "compare_results.py", Path(compare.__file__).read_bytes())

    def run(self, title: str, *, tensorboard: bool = False) -> list[ArmRecord]:
        """Run what is not done, and write the summary after every group.

        Args:
            title: name of the whole in the display of the progress.
            tensorboard: also write each finished run's diagnostics as TensorBoard scalars, into its folder.

        Returns:
            The records of all planned runs, in their order.
        """
        records, over = dict(self._done), self._run_groups()
        for name, record in records.items():
            logger.info("%s is done already", name)
            own = arm_folder(self._folder, name, record.kind)
            if tensorboard and not (own / TENSORBOARD_FOLDER).exists():
                write_scalars(own)
        with self._runtime.display.overall(title, before=len(records)) as task, closing(over):
            task.update(len(records), len(self._runs))
            for together in over:
                for run in together:
                    own = arm_folder(self._folder, run.name, run.kind)
                    records[run.name] = read_arm_record(own)
                    if tensorboard and records[run.name].status == "done":
                        write_scalars(own)
                task.update(len(records), len(self._runs))
                # After every group, so that an unfinished sweep has a summary too.
                write_text(self._folder / SUMMARY_FILE, summary_text(self._folder))
        write_text(self._folder / SUMMARY_FILE, summary_text(self._folder))
        self._remove_superseded(records)
        assert self._before is not None, "the run has begun"
        write_header(self._folder, self._before.model_copy(update={"finished_at": now()}))
        return [records[run.name] for run in self._runs]

    def _run_groups(self) -> Generator[Sequence[Planned], None, None]:
        """Run groups of arms, in this process or in worker processes; yields each group when it has ended."""
        groups, display = self._groups, self._runtime.display
        if self._num_processes > 1:
            self._artifacts.make_shared(run.config for together in groups for run in together)
            yield from run_in_worker_processes(groups, self._folder, display, num_processes=self._num_processes)
        else:
            for together in groups:
                run_group(self._runtime, self._artifacts, together, self._folder)
                yield together

    def _remove_superseded(self, records: Mapping[str, ArmRecord]) -> None:
        """Remove resume points that no longer count."""
        folders = {run.name: arm_folder(self._folder, run.name, run.kind) for run in self._runs}
        done = {name for name, record in records.items() if record.status == "done"}
        remove_superseded(self._folder, folders, done)

    def _data(self, run: Planned) -> QuestionHashes:
        return self._artifacts.questions(run.config).encoded.hashes

    def _header(self) -> SweepHeader:
        lm, experiment, before = self._runtime.lm, self._experiment, self._before
        return SweepHeader(
            format=FORMAT,
            name=experiment.name,
            description=experiment.description,
            baseline=experiment.baseline,
            experiment_hash=content_hash(experiment.model_dump(mode="json")),
            verdict=experiment.verdict.model_dump(mode="json"),
            report=experiment.report.model_dump(mode="json"),
            interactions=experiment.interactions,
            planned={**(before.planned if before else {}), **{run.name: run.kind for run in self._runs}},
            model=SweepModel(
                name=lm.name,
                revision=lm.revision,
                matrix_sha256=lm.embedding_hash(),
                vocabulary=lm.embedding_matrix.shape[0],
                embedding_width=lm.embedding_matrix.shape[1],
                num_layers=lm.num_layers,
                bytes_per_number=lm.embedding_matrix.element_size(),
                text_bits_per_token=self._artifacts.questions(self._runs[0].config).encoded.text_bits_per_token(),
                quantisation=lm.quantisation,
            ),
            samples=experiment.data.samples,
            training_questions=len(self._splits.drawn(self._runs[0].config.evaluation).train),
            test_questions=self._splits.num_test_questions,
            shared_paragraphs=self._splits.num_shared_paragraphs,
            epochs=experiment.training.epochs,
            environment=environment(lm.device),
            started_at=before.started_at if before else now(),
            finished_at=None,
        )
