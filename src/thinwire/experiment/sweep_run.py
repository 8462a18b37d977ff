"""Run the arms of one sweep into its folder, and write header and summary."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from thinwire import interruption
from thinwire.claims import Claim, writing_while_held
from thinwire.config.auto import resolved
from thinwire.data.splits import Splits
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.attempts import progress_of
from thinwire.experiment.dependencies import most_of_a_level, with_needs
from thinwire.experiment.disk_space import bytes_to_write, check_space
from thinwire.experiment.executors.local import LocalWorkers
from thinwire.experiment.group_queue import GroupQueue, read_earlier_queue, read_queue, write_queue
from thinwire.experiment.group_run import run_group
from thinwire.experiment.plan import Planned
from thinwire.experiment.request import SweepRequest
from thinwire.experiment.resume import finished_record, with_resume_point
from thinwire.experiment.resume_points import committed, remove_superseded, remove_uncommitted
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.runtime import make_runtime
from thinwire.experiment.scheduling import (
    choose_groups,
    group,
    longest_first,
    max_group_size,
    num_worker_processes,
)
from thinwire.experiment.search import choices_hash, with_choices
from thinwire.experiment.work import LEAST_PAUSE, LONGEST_PAUSE, GroupProgress, work
from thinwire.files import remove_partial_files, write_bytes, write_text
from thinwire.hard_links import has_hard_links
from thinwire.hashes import content_hash
from thinwire.model.language_model import LanguageModel
from thinwire.progress import Display
from thinwire.report import compare
from thinwire.report.summary import summary_text
from thinwire.results.arm_record import ArmRecord, QuestionHashes, has_arm_record, read_arm_record
from thinwire.results.experiment_file import write_experiment_file
from thinwire.results.layout import CODEC_FOLDER, SUMMARY_FILE, arm_folder
from thinwire.results.provenance import environment, now
from thinwire.results.search_record import read_search_record
from thinwire.results.sweep_header import FORMAT, SweepHeader, SweepModel, has_header, read_header, write_header
from thinwire.tasks.table import TASKS
from thinwire.tracking.trackers import Trackers

logger = logging.getLogger(__name__)

_BEGIN = "begin"
"""Name of the claim of the worker that prepares the run."""

_POLL_SECONDS = 0.2


class SweepRun:
    """Runs planned arms in a folder, beside other workers or alone: first ``begin``, then ``run``."""

    def __init__(
        self,
        request: SweepRequest,
        lm: LanguageModel,
        folder: Path,
        display: Display,
        *,
        splits: Splits | None = None,
        workers: LocalWorkers | None = None,
        memory_share: float = 1.0,
        trackers: Trackers | None = None,
    ) -> None:
        """Make the runtime; nothing is read or written yet.

        Args:
            splits: the experiment's questions, if they have been read.
            workers: processes that this one can start to help it; None if it is a worker itself.
            memory_share: share of the free memory that this process may use.
            trackers: told what the arms log that this process runs, and of those that were done before.
        """
        self._request, self._folder, self._workers = request, folder, workers
        self._is_helper = workers is None and request.session is not None
        experiment = request.experiment
        self._experiment, self._experiment_hash = experiment, content_hash(experiment.model_dump(mode="json"))
        self._splits = splits or Splits(experiment.data, experiment.seed, TASKS[experiment.task])
        self._runtime = make_runtime(experiment, lm, display, memory_share=memory_share, trackers=trackers)
        self._artifacts = ArtifactCache(experiment, lm, folder / CODEC_FOLDER, display, self._splits)
        self._claims = RunClaims(folder, str(lm.device))
        self._runs: list[Planned] = []
        self._done: dict[str, ArmRecord] = {}
        self._groups: list[list[Planned]] = []
        self._queue: GroupQueue | None = None
        self._num_processes = 1

    @property
    def splits(self) -> Splits:
        """The questions of all arms."""
        return self._splits

    def begin(self, planned: Sequence[Planned]) -> None:
        """Prepare ``run``, with the values that a search has chosen, and write header, experiment and groups.

        All that may be refused is checked before anything is written. May be called again when a search has made its
        choices. A helper waits for the groups of the sweep that it helps; of equals, the first prepares the run. It
        encodes the questions of all arms that are left, and the others those of the arms that they come to run.

        Raises:
            UsageError: the questions cannot be read, or other settings cannot be carried out.
            ThinwireError: the folder holds a finished arm of other settings, model or questions.
            StorageError: the disk has no room for what is left to run.
        """
        interruption.check()
        if self._is_helper:
            choices = self._choose(planned)
            left = [run for run in self._runs if run.name not in self._done]
            likely = iter(left)
            while (queue := read_queue(self._folder)) is None or queue.choices != choices:
                interruption.check()
                if run := next(likely, None):
                    self._artifacts.questions(run.config)  # it may come to run this one, and has nothing else to do
                else:
                    time.sleep(_POLL_SECONDS)
            self._queue, self._groups = queue, queue.of(left)
            return
        self._claims.alone(_BEGIN, "another worker, which prepares the run", lambda: self._begin(self._choose(planned)))

    def _choose(self, planned: Sequence[Planned]) -> str:
        """Resolve the settings of the runs and find those that are done; returns the hash of what a search has
        chosen."""
        lm, known = self._runtime.lm, read_search_record(self._folder)
        chosen = with_choices(self._experiment, planned, known)
        settled = [replace(run, config=resolved(run.config, lm.device.type)) for run in chosen]
        self._runs = with_needs(settled, self._folder)
        records = {run.name: finished_record(run, self._folder, self._data(run), lm) for run in self._runs}
        self._done = {name: record for name, record in records.items() if record}
        return choices_hash(known)

    def _begin(self, choices: str) -> None:
        lm, experiment = self._runtime.lm, self._experiment
        before = read_header(self._folder) if has_header(self._folder) else None
        left = [run for run in self._runs if run.name not in self._done]
        if self._workers is None and before and before.finished_at and all(map(self._has_ended, left)):
            self._groups = []
            return
        queue = read_queue(self._folder)
        is_first = queue is None  # else others may be writing
        is_prepared = before is not None and queue is not None and queue.choices == choices and queue.covers(left)
        num_workers = self._workers.num_gpus if self._workers else self._request.num_workers
        num_arms = most_of_a_level(self._runs)
        most = max_group_size(lm, experiment.group_size, num_arms=num_arms, num_workers=num_workers)
        if before and queue:
            _check_device(before, lm.device)
        if is_prepared:
            assert queue is not None, "prepared"
            self._queue, self._groups = queue, queue.of(left)
        else:
            for run in left:
                self._artifacts.questions(run.config)  # refuses prompts that the model cannot read
            points = committed(self._folder)
            left = [with_resume_point(run, self._folder, self._data(run), lm, points) for run in left]
            self._groups = choose_groups(left, most, choices, read_earlier_queue(self._folder))
            if num_workers > 1:
                self._groups = longest_first(self._groups, self._tokens)
        self._num_processes = num_workers
        if self._workers and num_workers == 1:
            self._num_processes = num_worker_processes(
                lm,
                experiment.worker_processes,
                num_groups=len(self._groups),
                num_tokens=sum(map(self._tokens, left)),
            )
        if is_prepared:
            return  # by another worker
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
        if self._request.num_workers > 1 and not has_hard_links(self._folder):
            raise UsageError(
                f"{self._folder} has no hard links, by which workers of several hosts end each arm once; "
                "choose another folder (--output), or --executor local"
            )
        if is_first:
            remove_partial_files(self._folder)
            self._remove_superseded(self._done)
        write_experiment_file(self._folder, experiment.model_dump(mode="json"))
        write_header(self._folder, self._header(before))
        write_bytes(self._folder / "compare_results.py", Path(compare.__file__).read_bytes())
        self._queue = GroupQueue(
            choices=choices,
            group_size=most,
            groups=tuple(tuple(run.name for run in together) for together in self._groups),
        )
        write_queue(self._folder, self._queue)

    def run(self, title: str) -> list[ArmRecord]:
        """Run what is not done, and write the summary after every group.

        Args:
            title: name of the whole in the display of the progress.

        Returns:
            The records of all planned runs, in their order.
        """
        records, trackers = dict(self._done), self._runtime.trackers
        for name, record in {} if self._is_helper else records.items():
            logger.info("%s is done already", name)
            if trackers:
                trackers.arm_was_done(record, arm_folder(self._folder, name, record.kind))
        with self._runtime.display.overall(title, before=len(records)) as task, closing(self._ended_groups()) as over:
            task.update(len(records), len(self._runs))
            for together in over:
                for run in together:
                    records[run.name] = read_arm_record(arm_folder(self._folder, run.name, run.kind))
                task.update(len(records), len(self._runs))
                if not self._is_helper:  # after every group, so that an unfinished sweep has a summary too
                    write_text(self._folder / SUMMARY_FILE, summary_text(self._folder))
        if not self._is_helper:
            self._claims.alone("finish", "another worker, which finishes the run", partial(self._finish, records))
        folders = [arm_folder(self._folder, run.name, run.kind) for run in self._runs]
        return [records.get(own.name) or read_arm_record(own) for own in folders]

    def _finish(self, records: Mapping[str, ArmRecord]) -> None:
        self._check_goes_on()
        write_text(self._folder / SUMMARY_FILE, summary_text(self._folder))  # over that of a worker that was suspended
        header = read_header(self._folder)
        if header.finished_at is None:
            self._remove_superseded(records)
            write_header(self._folder, header.model_copy(update={"finished_at": now()}))

    def _ended_groups(self) -> Generator[Sequence[Planned], None, None]:
        """Run groups of arms, in this process or in worker processes; yields each group when it has ended."""
        on_cpu, workers = self._runtime.lm.device.type == "cpu", self._workers
        if workers and on_cpu and self._num_processes > 1:
            self._artifacts.make_shared(run.config for together in self._groups for run in together)
            workers.start_on_cpu(self._num_processes)
        return work(
            self._groups,
            self._claims,
            self._run_claimed,
            claim_of=self._claim_of,
            has_ended=self._has_ended,
            progress=self._progress,
            check=workers.check if workers else lambda: None,
            takes_part=not (workers and workers.share_cores),
            longest_pause=LEAST_PAUSE if workers or self._is_helper else LONGEST_PAUSE,
        )

    def _claim_of(self, run: Planned) -> str:
        assert self._queue is not None, "begun"
        return self._queue.claim(run)

    def _run_claimed(self, together: Sequence[Planned], claim: Claim) -> None:
        """Run a group that this process has claimed: from the resume points that are there now.

        Raises:
            ClaimLostError: another process has taken it.
            StorageError: a file cannot be written.
            ThinwireError: the run was begun anew meanwhile.
        """
        self._check_goes_on()
        for run in together:  # network file systems look anew at a folder that is listed
            with suppress(FileNotFoundError):
                list(arm_folder(self._folder, run.name, run.kind).iterdir())
        together = [run for run in together if not self._has_ended(run)]
        lm = self._runtime.lm
        for run in together:
            self._artifacts.questions(run.config)  # before the arms begin, as this may take a while, or fail
        with writing_while_held(claim):
            remove_uncommitted(self._folder, claim.path.name)  # from now on resume points are this worker's to change
            points = committed(self._folder)
            runs = [with_resume_point(run, self._folder, self._data(run), lm, points) for run in together]
            for part in group(runs, len(runs)):  # more than one if some of them cannot be resumed
                run_group(self._runtime, self._artifacts, part, self._folder, claim)

    def _check_goes_on(self) -> None:
        """Refuse to go on in a run that was begun anew, as while this process was suspended: its groups and settings
        may be others."""
        if self._queue is None:
            return
        is_same = read_queue(self._folder) == self._queue
        if not is_same or read_header(self._folder).experiment_hash != self._experiment_hash:
            raise ThinwireError(
                f"the run in {self._folder} was begun anew while this worker was away, and it has no part in it; start "
                "a worker again, if it is to help"
            )

    def _has_ended(self, run: Planned) -> bool:
        """Return whether a run is done or has failed; one that was interrupted goes on."""
        own = arm_folder(self._folder, run.name, run.kind)
        try:
            return has_arm_record(own) and read_arm_record(own).status != "cancelled"
        except ThinwireError:
            if has_arm_record(own):
                raise
            return False  # another worker has begun it again just now

    def _progress(self, together: Sequence[Planned]) -> GroupProgress:
        """Return what is done of a group, and the optimiser steps from which its arms go on."""
        points = committed(self._folder)
        left = [run for run in together if run.name in points and not self._has_ended(run)]
        return GroupProgress(
            units=progress_of(self._folder, [run.name for run in together]),
            steps=sum(points[run.name].steps for run in left),
        )

    def _remove_superseded(self, records: Mapping[str, ArmRecord]) -> None:
        """Remove resume points that no longer count."""
        folders = {run.name: arm_folder(self._folder, run.name, run.kind) for run in self._runs}
        done = {name for name, record in records.items() if record.status == "done"}
        remove_superseded(self._folder, folders, done)

    def _tokens(self, run: Planned) -> int:
        questions = self._artifacts.questions(run.config)
        return questions.training_tokens(run.config) + questions.text_tokens(run.config)

    def _data(self, run: Planned) -> QuestionHashes:
        return self._splits.drawn(run.config.evaluation).hashes

    def _header(self, before: SweepHeader | None) -> SweepHeader:
        lm, experiment = self._runtime.lm, self._experiment
        description, report = experiment.words(lm.name)
        return SweepHeader(
            format=FORMAT,
            name=experiment.name,
            description=description,
            baseline=experiment.baseline,
            experiment_hash=self._experiment_hash,
            verdict=experiment.verdict.model_dump(mode="json"),
            report=report.model_dump(mode="json"),
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
            task=experiment.task,
            metric=TASKS[experiment.task].label,
            environment=environment(lm.device),
            started_at=before.started_at if before else now(),
            finished_at=None,
        )


def _check_device(header: SweepHeader, device: torch.device) -> None:
    """Refuse to join workers that use GPUs on a CPU, or the reverse: arms would be rounded differently, and be tested
    on other questions by ``evaluation.samples=auto``."""
    if (header.environment.device == "cpu") != (device.type == "cpu"):
        raise UsageError(
            f"the run was begun on {header.environment.device}, and this worker would use {device.type}: start it on a "
            "host that has the same kind of device"
        )
