"""Split a sweep's questions into training, selection and test, and draw each arm's questions by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from thinwire.config.settings import DataConfig, EvaluationConfig
from thinwire.data.distractors import check_distractors, check_other_paragraphs, with_distractors
from thinwire.data.labels import labels_of, with_options
from thinwire.data.overlap import Overlap, shared_paragraphs
from thinwire.data.sources import check_columns_apply, load_questions, load_test_questions
from thinwire.data.squad import Example
from thinwire.errors import UsageError
from thinwire.hashes import content_hash
from thinwire.results.arm_record import QuestionHashes
from thinwire.seeding import stream
from thinwire.tasks.extractive_qa import TASK as EXTRACTIVE_QA
from thinwire.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Questions:
    """An arm's questions for training, selection (held-out articles of the train set) and test (other data or other
    held-out articles)."""

    train: list[Example]
    selection: list[Example]
    test: list[Example]

    @cached_property
    def hashes(self) -> QuestionHashes:
        """Content hash of each split."""
        train, selection, test = (
            content_hash([_hashed(example) for example in split]) for split in (self.train, self.selection, self.test)
        )
        return QuestionHashes(train=train, selection=selection, test=test)


def _hashed(example: Example) -> dict[str, Any]:
    """Return what a hash of questions is of. Questions without choices have the hashes of versions that had none."""
    found = asdict(example)
    if not example.choices:
        del found["choices"]
    return found


class Splits:
    """Draws questions from an experiment's data, always with the experiment's seed and never with an arm's."""

    def __init__(self, data: DataConfig, seed: int, task: Task = EXTRACTIVE_QA) -> None:
        self._data = data if task.answers_are_spans else data.model_copy(update={"mismatched": "keep"})
        self._seed, self._task = seed, task
        self._drawn: dict[tuple[int | str, int], Questions] = {}

    def drawn(self, evaluation: EvaluationConfig) -> Questions:
        """Return the questions for these evaluation settings, in which ``auto`` is already resolved.

        Raises:
            UsageError: the data cannot be read, splits share paragraphs and ``data.allow_shared_paragraphs`` is not
                set, or there are no paragraphs for ``data.distractors``.
        """
        samples, selection = evaluation.samples, evaluation.selection_samples
        assert samples != "auto", "the arm was resolved"
        assert selection != "auto", "the arm was resolved"
        if (samples, selection) not in self._drawn:
            self.check()
            train, held_out, test = self._all
            self._drawn[samples, selection] = Questions(
                train=self._draw(train, self._data.samples, "train"),
                selection=self._draw(held_out, selection, "selection"),
                test=self._draw(test, len(test) if samples == "all" else samples, "test"),
            )
        return self._drawn[samples, selection]

    def _draw(self, split: Sequence[Example], num: int, purpose: str) -> list[Example]:
        drawn = draw_examples(split, num, self._seed, purpose)
        distractors = self._data.distractors
        return with_distractors(drawn, split, distractors, self._seed) if distractors else drawn

    def check(self) -> None:
        """Read and split the questions, whichever of them are drawn later.

        Raises:
            UsageError: as ``drawn``.
        """
        self._refuse_overlaps()
        if self._data.distractors:
            for split, questions in zip(self._all, self._names, strict=True):
                check_distractors(self._task.name, split, questions)

    def training_and_selection(self, distractors: int = 0) -> tuple[list[Example], list[Example]]:
        """Return all questions of the training articles and of the selection articles, drawn or not.

        Args:
            distractors: other paragraphs of their articles in each context, whatever ``data.distractors`` is.

        Raises:
            UsageError: as ``drawn``, or there are no such paragraphs.
        """
        self.check()
        train, held_out, _ = self._all
        if not distractors:
            return train, held_out
        self.check_texts()
        of_train, of_held_out = (with_distractors(one, one, distractors, self._seed) for one in (train, held_out))
        return of_train, of_held_out

    def check_texts(self) -> None:
        """Check that texts can have other paragraphs beside them (``blocks.reconstruction.distractors``).

        Raises:
            UsageError: they cannot, or the questions cannot be read.
        """
        for split, questions in zip(self._all[:2], self._names[:2], strict=True):
            check_other_paragraphs(split, questions, "blocks.reconstruction.distractors")

    @property
    def num_test_questions(self) -> int:
        """Number of test questions in the data, of which an arm may draw fewer."""
        return len(self._all[2])

    @property
    def test_source(self) -> str:
        """Where the test questions come from, in words that name the settings."""
        data = self._data
        if data.test_articles is not None:
            return f"data.test_articles={data.test_articles} of data.train={data.train}"
        return f"the dev split of data.train={data.train}" if data.test is None else f"data.test={data.test}"

    @cached_property
    def overlaps(self) -> tuple[Overlap, ...]:
        """The pairs of splits that share paragraphs, whichever questions are drawn; paragraphs without distractors."""
        train, held_out, test = self._all
        training, selection, scored = self._names
        pairs = (
            (training, scored, shared_paragraphs(train, test)),
            (selection, scored, shared_paragraphs(held_out, test)),
            (training, selection, shared_paragraphs(train, held_out)),
        )
        return tuple(Overlap(seen=seen, scored=on, paragraphs=found) for seen, on, found in pairs if found)

    @property
    def num_shared_paragraphs(self) -> int:
        """Number of test paragraphs that the training or selection questions hold too."""
        return len({text for one in self.overlaps if one.scored == self._test_questions for text in one.paragraphs})

    @property
    def _names(self) -> tuple[str, str, str]:
        """The questions of each split, in words."""
        source = f"(data.train={self._data.train})"
        return f"training questions {source}", f"selection questions {source}", self._test_questions

    @property
    def _test_questions(self) -> str:
        return f"test questions ({self.test_source})"

    def _refuse_overlaps(self) -> None:
        if self.overlaps and not self._data.allow_shared_paragraphs:
            raise UsageError(
                f"{self.overlaps[0]}; scores on such paragraphs say nothing about new ones: give other questions "
                "(data.train, data.test), or allow it with data.allow_shared_paragraphs=true"
            )

    def _refuse_too_few_articles(self, examples: Sequence[Example]) -> None:
        """Refuse numbers of articles that are too large together, before one of them is judged without the other."""
        data, num = self._data, len({example.article for example in examples})
        if data.test_articles is not None and data.selection_articles + data.test_articles >= num:
            most = f"numbers with a sum of {num - 1} or less, or " if num > 2 else ""
            raise UsageError(
                f"data.selection_articles={data.selection_articles} and data.test_articles={data.test_articles} cannot "
                f"be held out of {num} articles; give {most}data with more articles (titles, or contexts where there "
                "are none)"
            )

    @cached_property
    def _all(self) -> tuple[list[Example], list[Example], list[Example]]:
        """All questions of each split, with their options where the task has any, and with their own paragraphs
        alone."""
        splits = self._read()
        labels = labels_of(splits[0]) if self._task.has_labels else None
        train, held_out, test = (with_options(self._task, split, labels) for split in splits)
        return train, held_out, test

    def _read(self) -> tuple[list[Example], list[Example], list[Example]]:
        data = self._data
        check_columns_apply(data.columns, *dict.fromkeys(filter(None, (data.train, data.test))))
        everything = load_questions(data.train, "train", data.unanswerable, data.mismatched, data.columns)
        self._refuse_too_few_articles(everything)
        train, held_out = hold_out_articles(everything, data.selection_articles, self._seed)
        if data.test_articles is None:
            return train, held_out, load_test_questions(data)
        # After the selection articles, which are thereby the same whether or not others are tested on.
        train, test = hold_out_articles(train, data.test_articles, self._seed, "test")
        return train, held_out, test


_ARTICLE_STREAMS = {"selection": "articles", "test": "test articles"}


def hold_out_articles(
    examples: Sequence[Example], num_articles: int, seed: int, purpose: Literal["selection", "test"] = "selection"
) -> tuple[list[Example], list[Example]]:
    """Split into (training, held out) by whole articles, so that no held-out article occurs in training.

    Args:
        purpose: the split that the articles are held out for; each draws its own by ``seed``.

    Raises:
        UsageError: holding out that many articles would leave nothing to train on.
    """
    articles = sorted({example.article for example in examples})
    if num_articles >= len(articles):
        fewer = f"set data.{purpose}_articles to {len(articles) - 1} or fewer, or " if len(articles) > 1 else ""
        raise UsageError(
            f"{num_articles} articles cannot be held out of {len(articles)}; {fewer}give data with more articles "
            "(titles; contexts where there are none; rows where there are neither)"
        )
    held_out = set(stream(seed, _ARTICLE_STREAMS[purpose]).sample(articles, num_articles))
    kept = [example for example in examples if example.article not in held_out]
    return kept, [example for example in examples if example.article in held_out]


def draw_examples(examples: Sequence[Example], num: int, seed: int, purpose: str) -> list[Example]:
    """Draw ``num`` examples by seed in random order, or all if there are fewer.

    A smaller draw is a prefix of a larger one.
    """
    shuffled = list(examples)
    stream(seed, "draw", purpose).shuffle(shuffled)
    return shuffled[:num]
