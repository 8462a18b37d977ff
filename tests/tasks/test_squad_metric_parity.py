"""The SQuAD metric compared with torchmetrics' implementation, on many generated answers."""

import random

import pytest
import torch

from thinwire.tasks.squad_metric import best_over_golds, exact_match, f1, normalize, score

squad = pytest.importorskip("torchmetrics.functional.text")

WORDS = (
    *("the", "The", "a", "An", "an", "AN", "red", "Red", "mill", "mills", "1843", "3.5", "$20", "St.", "Louis", "U.S."),
    *(
        "naïve",
        "ÉCOLE",
        "école",
        "straße",
        "STRASSE",
        "北京",
        "Москва",
        "İstanbul",
        "e\u0301cole",
        "x\u00a0y",
        "—",
        "“red”",
    ),
    *("theory", "another", "anna", "the-mill", "(mill)", "red,", "mill;", "it's", "its", "...", "!", "&", "a.", "the,"),
)
BLANKS = (" ", "  ", "\n", "\t", " - ", ", ", "-", "/")


@pytest.fixture(autouse=True)
def _double_precision():
    """Compute in double precision: torchmetrics uses torch's default type, and float32 would agree to 1e-7 only."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def phrase(rng: random.Random) -> str:
    words = [rng.choice(WORDS) for _ in range(rng.randint(1, 6))]
    return "".join(word + rng.choice(BLANKS) for word in words[:-1]) + words[-1]


def pairs(num: int = 2000) -> list[tuple[str, list[str]]]:
    rng = random.Random(0)  # noqa: S311 - test data
    found = []
    for _ in range(num):
        golds = [gold for _ in range(rng.randint(1, 4)) if normalize(gold := phrase(rng))] or ["red mill"]
        words = rng.choice(golds).split()
        kind = rng.randrange(4)
        # A gold answer, the same in another form, part of one with something else, or anything.
        answer = (
            " ".join(words),
            f"The {' '.join(words).upper()}!",
            " ".join([*rng.sample(words, rng.randint(1, len(words))), rng.choice(WORDS)]),
            phrase(rng),
        )[kind]
        found.append((answer, golds))
    return found


def reference(answer: str, golds: list[str]) -> tuple[float, float]:
    found = squad.squad(
        [{"prediction_text": answer, "id": "q"}],
        [{"answers": {"answer_start": [0] * len(golds), "text": golds}, "id": "q"}],
    )
    return float(found["exact_match"]) / 100, float(found["f1"]) / 100


def test_every_answer_is_scored_as_torchmetrics_scores_it():
    partial = exact = 0
    for answer, golds in pairs():
        em, overlap = best_over_golds(answer, golds)
        expected_em, expected_f1 = reference(answer, golds)
        assert em == expected_em, (answer, golds)
        assert overlap == pytest.approx(expected_f1, abs=1e-9), (answer, golds)
        partial += 0 < overlap < 1
        exact += em
    assert partial > 500
    assert exact > 300


def test_answers_together_are_scored_as_torchmetrics_scores_them():
    answers = {f"q{number}": pair for number, pair in enumerate(pairs())}
    ours = score(
        {key: answer for key, (answer, _) in answers.items()}, {key: golds for key, (_, golds) in answers.items()}
    )
    found = squad.squad(
        [{"prediction_text": answer, "id": key} for key, (answer, _) in answers.items()],
        [{"answers": {"answer_start": [0] * len(g), "text": g}, "id": key} for key, (_, g) in answers.items()],
    )
    assert ours.exact_match == pytest.approx(float(found["exact_match"]) / 100, abs=1e-9)
    assert ours.f1 == pytest.approx(float(found["f1"]) / 100, abs=1e-9)


def test_the_two_differ_for_a_gold_answer_of_articles_only():
    # This is v1.1's metric, where no shared word is 0; torchmetrics has v2.0's, where two empty answers agree.
    assert (exact_match("the", "The"), f1("the", "The")) == (1.0, 0.0)
    assert reference("the", ["The"]) == (1.0, 1.0)
    assert f1("mill", "The") == reference("mill", ["The"])[1] == 0.0
