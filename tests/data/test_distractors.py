"""Other paragraphs beside a question's own: whose they are, where they stand, and where the answer is then."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.config.settings import DataConfig, EvaluationConfig
from thinwire.data.distractors import check_distractors, with_distractors
from thinwire.data.splits import Splits
from thinwire.errors import UsageError
from thinwire.schema import build
from thinwire.tasks.table import TASKS
from tiny_models import example, write_squad

ALL = EvaluationConfig(samples="all", selection_samples=1000)


def about(number, article, context, answer="3"):
    return replace(example(number, context=context, answer=answer), article=article)


ULM = [
    about(0, "Ulm", "Ulm has 3 mills."),
    about(1, "Ulm", "Its bridges are 2.", "2"),
    about(2, "Ulm", "A ferry left at 1.", "1"),
    about(3, "Ulm", "Ulm has 3 mills.", "mills"),
]
ROM = [about(4, "Rom", "Rom has 7 hills.", "7")]


def test_paragraphs_of_the_same_article_stand_around_the_own_one():
    found = with_distractors(ULM + ROM, ULM + ROM, 2, seed=0)
    for made, own in zip(found[:4], ULM, strict=True):
        assert sorted(made.context.split("\n\n")) == sorted({one.context for one in ULM})
        assert made.context[made.answer_start :].startswith(own.answers[0])
        assert replace(made, context=own.context, answer_start=own.answer_start) == own
    assert found[0].context == found[3].context
    assert found[4] == ROM[0], "an article of one paragraph has no other"


def test_the_answer_moves_with_its_paragraph_where_others_hold_the_same_words():
    split = [about(0, "Ulm", "3 a"), about(1, "Ulm", "3 b"), about(2, "Ulm", "3 c")]
    places = set()
    for seed in range(20):
        for made, own in zip(with_distractors(split, split, 2, seed), split, strict=True):
            assert made.context[made.answer_start :].startswith(own.context)
            assert (made.answer_start - own.answer_start) % 5 == 0, "of paragraphs of 3 characters and 2 between them"
            places.add(made.answer_start // 5)
    assert places == {0, 1, 2}, "the own paragraph stands anywhere"


def test_an_answer_that_is_nowhere_in_its_paragraph_stays_nowhere():
    lost = replace(ULM[1], answers=("3",), answer_start=-1)
    assert with_distractors([lost], ULM, 2, seed=0)[0].answer_start == -1


PARAGRAPHS = st.lists(st.text("ab c\n", min_size=1, max_size=6), min_size=1, max_size=8)


@given(PARAGRAPHS, st.integers(1, 9), st.integers(0, 5))
@settings(derandomize=True, deadline=None)
def test_contexts_hold_as_many_others_as_there_are_each_once(contexts, num, seed):
    split = [about(number, "Ulm", f"[{context}]", "[") for number, context in enumerate(contexts)]
    texts = {one.context for one in split}
    found = with_distractors(split, split, num, seed)
    for made, own in zip(found, split, strict=True):
        inside = [text for text in texts if text in made.context]
        assert len(inside) == min(num + 1, len(texts))
        assert own.context in inside
        assert len(made.context) == sum(map(len, inside)) + 2 * (len(inside) - 1)
        assert made.context[made.answer_start :].startswith(own.context)
    # Neither which questions are asked nor the order of the data makes a difference; fewer others are some of more.
    assert with_distractors(found[:0] + split[-1:], split[::-1], num, seed) == found[-1:]
    fewer = with_distractors(split, split, num - 1, seed) if num > 1 else split
    for less, more in zip(fewer, found, strict=True):
        assert {text for text in texts if text in less.context} <= {text for text in texts if text in more.context}


def test_another_seed_draws_others():
    split = [about(number, "Ulm", f"[{number}]", "[") for number in range(9)]
    assert len({with_distractors(split[:1], split, 3, seed)[0].context for seed in range(10)}) > 5


@pytest.mark.parametrize("task", ["generation", "classification", "perplexity"])
def test_tasks_about_whole_texts_are_refused(task):
    with pytest.raises(UsageError, match=rf"task is {task}: set data\.distractors=0$"):
        check_distractors(task, ULM, "test questions")


@pytest.mark.parametrize(
    ("split", "why"),
    [
        ([*ULM, replace(ROM[0], context="")], "question q4 of the test questions is not a question about a context"),
        ([*ULM, replace(ROM[0], question="")], "question q4 of the test questions is not a question about a context"),
        (ROM, r"no article of the test questions has two; name articles by titles \(data\.columns\.title\)"),
        ([ULM[0], ULM[3]], "no article of the test questions has two"),
    ],
)
def test_questions_without_other_paragraphs_are_refused(split, why):
    check_distractors("extractive_qa", ULM + ROM, "test questions")
    with pytest.raises(UsageError, match=why):
        check_distractors("extractive_qa", split, "test questions")


def splits(folder, task="extractive_qa", **changes):
    """Splits of six training articles of three paragraphs each, of which two are held out, and two test articles."""
    train = write_squad(folder / "train.json", questions=2, paragraphs=3)
    test = write_squad(folder / "test.json", num_articles=2, questions=2, paragraphs=3, first=6)
    data = {"train": str(train), "test": str(test), "samples": 1000, "selection_articles": 2, **changes}
    return Splits(DataConfig(**data), seed=0, task=TASKS[task])


def test_every_split_gets_its_own_articles_paragraphs_and_keeps_its_questions(tmp_path):
    plain, long = splits(tmp_path).drawn(ALL), splits(tmp_path, distractors=2).drawn(ALL)
    assert plain.hashes.train != long.hashes.train
    assert plain.hashes.test != long.hashes.test
    for name in ("train", "selection", "test"):
        short, made = getattr(plain, name), getattr(long, name)
        texts = {}
        for one in short:
            texts.setdefault(one.article, set()).add(one.context)
        for before, after in zip(short, made, strict=True):
            assert set(after.context.split("\n\n")) == texts[before.article]
            assert len(texts[before.article]) == 3
            assert after.context[after.answer_start :].startswith(before.answers[0])
            assert (after.id, after.paragraph_id) == (before.id, before.paragraph_id)


def test_a_drawn_question_has_the_context_that_it_has_among_all(tmp_path):
    long = splits(tmp_path, distractors=1)
    few = long.drawn(EvaluationConfig(samples=3, selection_samples=1)).test
    assert few == long.drawn(ALL).test[:3]


def test_shared_paragraphs_are_found_as_without_distractors(tmp_path):
    # Article 5 is in both files; the third paragraph of article 6 is put into the training file too.
    document = json.loads(write_squad(tmp_path / "double.json", questions=2, paragraphs=3).read_text())
    other = json.loads(
        write_squad(tmp_path / "other.json", num_articles=1, questions=2, paragraphs=3, first=6).read_text()
    )
    moved = other["data"][0]["paragraphs"][2]
    for article in document["data"]:
        copied = [{**qa, "id": f"{article['title']} {qa['id']}"} for qa in moved["qas"]]
        article["paragraphs"].append({**moved, "qas": copied})
    (tmp_path / "double.json").write_text(json.dumps(document))
    found = splits(tmp_path, train=str(tmp_path / "double.json"), distractors=3, allow_shared_paragraphs=True)
    assert found.num_shared_paragraphs == 1
    assert {text for one in found.overlaps for text in one.paragraphs} == {moved["context"]}
    with pytest.raises(UsageError, match="also in the training questions"):
        splits(tmp_path, train=str(tmp_path / "double.json"), distractors=3).check()


def test_a_sweep_without_other_paragraphs_is_refused_before_it_draws(tmp_path):
    test = write_squad(tmp_path / "flat.json", num_articles=2, questions=2, first=6)
    message = r"^data\.distractors takes .* no article of the test questions \(data\.test=.*flat\.json\) has two"
    with pytest.raises(UsageError, match=message):
        splits(tmp_path, test=str(test), distractors=2).check()
    with pytest.raises(UsageError, match=r"task is generation"):
        splits(tmp_path, "generation", distractors=2).check()


def test_a_number_below_zero_is_refused():
    with pytest.raises(UsageError, match=r"^data\.distractors: "):
        build(DataConfig, {"distractors": -1}, where="data")
