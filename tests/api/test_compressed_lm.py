"""A finished arm as a language model: its answers, continuations and embeddings."""

import pytest
import torch

from thinwire.api import CompressedLM
from thinwire.errors import UsageError
from tiny_models import squad_document
from tiny_sweeps import lines


@pytest.fixture(scope="module")
def compressed(finished):
    return CompressedLM.from_run(finished.folder / "r2", device="cpu")


def test_answers_are_those_of_the_arms_evaluation(finished, compressed):
    rows = lines(finished.folder / "r2" / "predictions.jsonl")
    articles = squad_document(num_articles=2, first=6)["data"]
    contexts = {qa["id"]: part["context"] for one in articles for part in one["paragraphs"] for qa in part["qas"]}
    found = compressed.answer([(contexts[row["id"]], row["question"]) for row in rows])
    assert found == [row["text"] for row in rows]
    assert len(set(found)) > 1


def test_a_continuation_is_that_of_the_transformers_model_with_the_rebuilt_embeddings(compressed):
    text = "Town 1-1 has"
    (embeddings,) = compressed.embed([text], chat=False)
    assert embeddings.shape == (len(text), 32)  # a token for each byte
    ids = compressed.tokenizer(text)["input_ids"]
    assert not torch.equal(embeddings, compressed.lm.embedding_matrix[ids])
    generated = []
    for _ in range(6):
        token = int(compressed.model(inputs_embeds=embeddings[None]).logits[0, -1].argmax())
        generated.append(token)
        embeddings = torch.cat([embeddings, compressed.matrix[token][None]])
    expected = compressed.tokenizer.decode(generated, skip_special_tokens=True)
    assert compressed.generate([text], max_new_tokens=6, chat=False) == [expected]


def test_texts_keep_their_order_whatever_their_lengths(compressed):
    texts = ["a", "a much longer text than the others", "bb"]
    together = compressed.generate(texts, max_new_tokens=5)
    assert together == [compressed.generate([text], max_new_tokens=5)[0] for text in texts]


def test_by_default_texts_are_messages_in_the_chat_template(compressed):
    (embeddings,) = compressed.embed(["Hi"])
    ids = compressed.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert torch.equal(embeddings, compressed.matrix[ids])


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ("hi", {}, "a list of texts is expected"),
        ([""], {"chat": False}, "a text is empty"),
        (["hi"], {"max_new_tokens": 0}, "expected 1 or more"),
        (["hi"], {"max_new_tokens": "4"}, "'4', expected 1 or more, a whole number"),
        (["hi"], {"max_new_tokens": 2.5}, "2.5, expected 1 or more, a whole number"),
        (["hi"], {"max_new_tokens": 10**6}, "ask for fewer tokens"),
        (None, {}, "got None"),
        (["hi", 3], {}, "got 3 as text 1"),
        ([("a", "b")], {}, r"got \('a', 'b'\) as text 0"),
    ],
)
def test_texts_that_cannot_be_continued_are_refused(texts, options, message, compressed):
    with pytest.raises(UsageError, match=message):
        compressed.generate(texts, **options)


def test_a_sweep_is_no_arm(finished):
    with pytest.raises(UsageError, match="is a sweep's folder; name one of its arms"):
        CompressedLM.from_run(finished.folder)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ("When?", r"got 'When\?'"),
        (None, "got None"),
        (("Ada wrote it.", "When?"), "got 'Ada wrote it.' as question 0"),
        ([("Ada wrote it.", "When?"), ("a", "b", "c")], "as question 1"),
        ([(None, "When?")], r"got \(None, 'When\?'\) as question 0"),
        ([{"context": "a", "question": "b"}], "as question 0"),
    ],
)
def test_questions_that_are_no_pairs_of_texts_are_refused(questions, message, compressed):
    for ask in (compressed.answer, compressed.embed_questions):
        with pytest.raises(UsageError, match=f"a list of pairs of texts is expected.*{message}"):
            ask(questions)


def test_no_questions_and_no_texts_have_no_answers(compressed):
    assert compressed.answer([]) == compressed.embed_questions([]) == compressed.generate([]) == []


@pytest.mark.parametrize("arm", [None, 3, ""])
def test_what_is_no_path_is_no_arm(arm):
    with pytest.raises(UsageError, match=r"the path of the arm's folder is empty|the arm's folder is a path"):
        CompressedLM.from_run(arm)
