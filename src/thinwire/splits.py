"""The questions of a sweep: read once, whole articles held out to choose by, and drawn for each arm by seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

from thinwire.config import ArmConfig, DataConfig
from thinwire.questions import load_questions, load_test_questions
from thinwire.records import content_hash
from thinwire.squad import Example, draw, hold_out_articles


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What an arm trains on, is chosen by (held-out articles of the train set) and is scored on."""

    train: list[Example]
    selection: list[Example]
    test: list[Example]

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Content hash of each split."""
        splits = {"train": self.train, "selection": self.selection, "test": self.test}
        return {name: content_hash([asdict(example) for example in split]) for name, split in splits.items()}


class Splits:
    """Draws questions out of an experiment's data; the experiment's own seed decides, never an arm's."""

    def __init__(self, data: DataConfig, seed: int) -> None:
        self._data, self._seed = data, seed
        self._drawn: dict[tuple[int | str, int], Questions] = {}

    def drawn(self, arm: ArmConfig) -> Questions:
        """The questions of ``arm``, whose numbers of questions are no longer "auto"."""
        samples, selection = arm.evaluation.samples, arm.evaluation.selection_samples
        assert samples != "auto", "the arm was resolved"
        assert selection != "auto", "the arm was resolved"
        if (samples, selection) not in self._drawn:
            train, held_out, test = self._all
            self._drawn[samples, selection] = Questions(
                train=draw(train, self._data.samples, self._seed, "train"),
                selection=draw(held_out, selection, self._seed, "selection"),
                test=draw(test, len(test) if samples == "all" else samples, self._seed, "test"),
            )
        return self._drawn[samples, selection]

    @cached_property
    def _all(self) -> tuple[list[Example], list[Example], list[Example]]:
        data = self._data
        everything = load_questions(data.train, "train", data.unanswerable)
        train, held_out = hold_out_articles(everything, data.selection_articles, self._seed)
        return train, held_out, load_test_questions(data)
