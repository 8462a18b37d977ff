"""Figures that betray mode collapse (a model that says the same whatever it reads) and answers in a wrong format.

They judge form, not truth: wrong answers as varied and as short as the gold ones are healthy.
"""

import math
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal, TypedDict

from thinwire.scoring import normalize


class CollapseFigures(TypedDict):
    """How varied a set of answers is. Shares are fractions of all answers, 0 to 1."""

    distinct_share: float
    """Different answers over answers; 1 where no two are equal."""
    top_first_word: str | None
    """The most common first word; null where every answer is empty."""
    top_first_word_share: float
    first_word_entropy: float
    """Entropy of the first word in bits; 0 where all answers start alike."""
    empty_share: float


def collapse_figures(answers: Sequence[str]) -> CollapseFigures:
    """Diversity of ``answers`` (at least one), compared as stripped, lower-cased text."""
    if not answers:
        raise ValueError("no answers to diagnose")
    texts = [answer.strip().lower() for answer in answers]
    first_words = Counter(text.split()[0] for text in texts if text)
    word, count = first_words.most_common(1)[0] if first_words else (None, 0)
    spoken = sum(first_words.values())
    return CollapseFigures(
        distinct_share=len(set(texts)) / len(texts),
        top_first_word=word,
        top_first_word_share=count / len(texts),
        first_word_entropy=-sum(n / spoken * math.log2(n / spoken) for n in first_words.values()) or 0.0,
        empty_share=texts.count("") / len(texts),
    )


Row = Mapping[str, Any]
"""One line of ``predictions.jsonl``: id, question, golds, raw_text, text, exact_match, stop_reason are read."""

Finding = Literal["healthy", "format only", "collapsed"]

_NUM_EXAMPLES = 5
_LONGEST_REPEAT = 8
"""Words of the longest phrase that is looked for in succession."""
_COPIED_WORDS = 4
"""So many words in a row are no accident: of 500 gold answers of SQuAD's dev set none copies as much."""
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where form turns into a finding. Shares, 0 to 1; those called "above gold" are added to the gold answers' own.

    Behind the defaults are SmolLM2-135M's answers to 500 questions of SQuAD's dev set. Gold: 97 % distinct, 6 % start
    with "the", none repeats a phrase. Eleven trained arms stay within 1, 7 and 1 points of that. The bare codec's
    babble repeats a phrase in 22 %. Chat sentences of the uncompressed model start with "the" in 78 %, as collapse
    would, but hold the gold answer in 33 %: a habit of form. Without a context 3 % hold it.
    """

    distinct_of_gold: float = 0.5
    """Collapsed below this share of the gold answers' distinct share."""
    repeated_above_gold: float = 0.1
    """Collapsed from so many more answers with a phrase three times in a row."""
    copied_above_gold: float = 0.5
    """Collapsed from so many more answers that copy their question."""
    empty: float = 0.5
    """Collapsed from so many empty answers."""
    first_word_above_gold: float = 0.5
    """Collapsed from so many more answers with the same first word, if also fewer than ``found`` hold a gold answer."""
    found: float = 0.1
    present_not_exact: float = 0.1
    """Format only from so many answers that hold a gold answer and are not it, if they are also no fewer than the exact
    ones: at least half of what was found is then lost to form."""


@dataclass(frozen=True, kw_only=True)
class FormFigures:
    """The form of one set of answers. Shares are fractions of all answers, 0 to 1."""

    num_answers: int
    distinct_share: float
    """Of ``text``, compared as stripped, lower-cased text."""
    top_first_word: str | None
    top_first_word_share: float
    first_word_entropy: float
    """Bits."""
    empty_share: float
    repeated_share: float
    """Answers whose raw text holds some phrase of one to eight words three times in succession."""
    run_on_share: float | None
    """Answers cut off at the most tokens allowed; None for the gold answers."""
    exact_share: float
    present_not_exact_share: float
    """Answers that are not exact, though their raw text holds a gold answer as whole words, both normalised."""
    copied_question_share: float
    """Answers of at least four words, all of which stand in that order in the question; or that hold all of it."""

    @property
    def found_share(self) -> float:
        """Answers that are a gold answer or hold one."""
        return self.exact_share + self.present_not_exact_share


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One criterion: the figure, its limit on these questions, and whether the figure is beyond it."""

    sign_of: Finding
    figure: str
    value: float
    limit: float
    beyond: bool


@dataclass(frozen=True, kw_only=True)
class Example:
    """One real answer."""

    id: str
    question: str
    gold: str
    raw_text: str
    shows: str
    """What it was chosen for: a name of ``FormFigures`` without ``_share``, or "answer"."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A finding with the numbers that decided it."""

    finding: Finding
    evidence: tuple[Evidence, ...]
    """Every criterion, those that decided first."""
    answers: FormFigures
    gold: FormFigures
    """The first gold answer of the same questions, as if predicted."""
    text: FormFigures | None
    """The model reading text, without training; None where it was not given."""
    examples: tuple[Example, ...]
    """Up to five, those that show the finding first, then in the order of their ids."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def diagnose(
    predictions: Sequence[Row], text_predictions: Sequence[Row] | None = None, limits: Limits | None = None
) -> Diagnosis:
    """Judge the form of ``predictions`` (at least one). The text model's figures are for comparison, never decisive."""
    answers, gold = form_figures(predictions), form_figures([_as_gold(row) for row in predictions])
    evidence = _evidence(answers, gold, limits or Limits())
    finding: Finding = next((e.sign_of for e in evidence if e.beyond), "healthy")
    decisive = [e for e in evidence if e.beyond and e.sign_of == finding]
    return Diagnosis(
        finding=finding,
        evidence=(*decisive, *(e for e in evidence if e not in decisive)),
        answers=answers,
        gold=gold,
        text=form_figures(text_predictions) if text_predictions else None,
        examples=_examples(predictions, decisive[0].figure if decisive else "answer", answers.top_first_word),
    )


def form_figures(rows: Sequence[Row]) -> FormFigures:
    """The form of ``rows`` (at least one)."""
    return FormFigures(
        **collapse_figures([row["text"] for row in rows]),
        num_answers=len(rows),
        repeated_share=fmean(repeats(row["raw_text"]) for row in rows),
        run_on_share=None if "stop_reason" not in rows[0] else fmean(row["stop_reason"] == "length" for row in rows),
        exact_share=fmean(row["exact_match"] == 1 for row in rows),
        present_not_exact_share=fmean(holds_gold(row) for row in rows),
        copied_question_share=fmean(copies(row["raw_text"], row["question"]) for row in rows),
    )


def repeats(text: str) -> bool:
    """Whether a phrase of one to eight words comes three times in succession; case and punctuation do not count."""
    words = _words(text)
    for size in range(1, _LONGEST_REPEAT + 1):
        # A phrase three times in a row is as many words in a row that equal the word one phrase later, twice over.
        run = 0
        for word, later in zip(words, words[size:], strict=False):
            run = run + 1 if word == later else 0
            if run == 2 * size:
                return True
    return False


def holds_gold(row: Row) -> bool:
    """Whether an answer that is not exact holds a gold answer as whole words, both normalised."""
    said = f" {normalize(row['raw_text'])} "
    golds = [normalize(gold) for gold in row["golds"]]
    return row["exact_match"] != 1 and any(f" {gold} " in said for gold in golds if gold)


def copies(text: str, question: str) -> bool:
    """Whether ``text`` is four or more words of the question in a row, or holds the whole question."""
    said, asked = _words(text), _words(question)
    within = len(said) >= _COPIED_WORDS and _contains(asked, said)
    return within or (len(asked) >= _COPIED_WORDS and _contains(said, asked))


def _words(text: str) -> list[str]:
    return text.lower().translate(_PUNCTUATION).split()


def _contains(words: Sequence[str], part: Sequence[str]) -> bool:
    return f" {' '.join(part)} " in f" {' '.join(words)} "


def _as_gold(row: Row) -> Row:
    gold = row["golds"][0]
    kept = {"id": row["id"], "question": row["question"], "golds": row["golds"]}
    return {**kept, "raw_text": gold, "text": gold, "exact_match": 1.0}


def _evidence(answers: FormFigures, gold: FormFigures, limits: Limits) -> list[Evidence]:
    """The criteria in the order in which they decide."""
    least_distinct = limits.distinct_of_gold * gold.distinct_share
    lost = max(limits.present_not_exact, answers.exact_share)
    found: list[Evidence] = []

    def judge(sign_of: Finding, figure: str, limit: float, beyond: bool | None = None) -> None:
        value = getattr(answers, figure)
        beyond = value >= limit if beyond is None else beyond
        found.append(Evidence(sign_of=sign_of, figure=figure, value=value, limit=limit, beyond=beyond))

    same_word = gold.top_first_word_share + limits.first_word_above_gold
    stuck = answers.top_first_word_share >= same_word and answers.found_share < limits.found
    judge("collapsed", "empty_share", limits.empty)
    judge("collapsed", "distinct_share", least_distinct, answers.distinct_share < least_distinct)
    judge("collapsed", "repeated_share", gold.repeated_share + limits.repeated_above_gold)
    judge("collapsed", "copied_question_share", gold.copied_question_share + limits.copied_above_gold)
    judge("collapsed", "top_first_word_share", same_word, stuck)
    judge("format only", "present_not_exact_share", lost)
    return found


def _examples(rows: Sequence[Row], figure: str, top_word: str | None) -> tuple[Example, ...]:
    texts = Counter(row["text"].strip().lower() for row in rows)
    shows = {
        "empty_share": lambda row: not row["text"].strip(),
        "distinct_share": lambda row: texts[row["text"].strip().lower()] > 1,
        "repeated_share": lambda row: repeats(row["raw_text"]),
        "copied_question_share": lambda row: copies(row["raw_text"], row["question"]),
        "top_first_word_share": lambda row: row["text"].strip().lower().split()[:1] == [top_word],
        "present_not_exact_share": holds_gold,
    }.get(figure, lambda _: False)
    chosen = sorted(rows, key=lambda row: (not shows(row), row["id"]))[:_NUM_EXAMPLES]
    return tuple(
        Example(
            id=row["id"],
            question=row["question"],
            gold=row["golds"][0],
            raw_text=row["raw_text"],
            shows=figure.removesuffix("_share") if shows(row) else "answer",
        )
        for row in chosen
    )
