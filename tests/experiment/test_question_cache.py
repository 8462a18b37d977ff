"""Arms share what is prepared of their questions."""

import pytest

from thinwire.config.auto import resolved
from thinwire.data.splits import Splits
from thinwire.errors import UsageError
from thinwire.experiment import question_cache
from thinwire.experiment.question_cache import QuestionCache
from thinwire.model.loading import load
from tiny_models import write_squad
from tiny_sweeps import experiment


def test_blocks_are_made_of_the_prompts_of_text_which_are_encoded_once(folder, monkeypatch):
    encoded = []
    encode = question_cache.encode_questions
    monkeypatch.setattr(question_cache, "encode_questions", lambda *args: encoded.append(args) or encode(*args))
    arms = {"text": {"input": "text"}, "k2": {"input": "blocks"}, "k3": {"input": "blocks", "blocks": {"size": 3}}}
    made = experiment(folder, baseline="text", supervision={"ce_weight": 1.0}, arms=arms)
    cache = QuestionCache(load(made.model), Splits(made.data, made.seed))
    text, k2, k3 = (cache.questions(resolved(made.arm(name), "cpu")) for name in arms)
    assert len(encoded) == 1
    assert cache.questions(resolved(made.arm("k2"), "cpu")) is k2
    assert text.blocks is None
    assert k2.blocks.kind.size == 2
    assert k3.blocks.kind.size == 3
    for one, two, three in zip(text.encoded.test, k2.encoded.test, k3.encoded.test, strict=True):
        assert len(one.prompt_ids) == two.num_tokens == three.num_tokens
        assert one.answer_ids == two.answer_ids
    assert k2.counts is text.counts


def test_a_models_positions_limit_what_an_arm_reads_and_not_the_tokens_in_its_blocks(folder, monkeypatch):
    arms = {"text": {"input": "text"}, "k4": {"input": "blocks", "blocks": {"size": 4}}}
    prompt = {"answer_form": "space"}
    made = experiment(folder, baseline="text", supervision={"ce_weight": 1.0}, prompt=prompt, arms=arms)
    lm = load(made.model)
    text, k4 = (resolved(made.arm(name), "cpu") for name in arms)
    found = QuestionCache(lm, Splits(made.data, made.seed)).questions(k4)
    room = max(k4.evaluation.max_new_tokens, k4.supervision.num_tokens)
    most = room + max(len(question.prompt_ids) for question in found.encoded.all())
    monkeypatch.setattr(type(lm), "most_positions", most)
    cache = QuestionCache(lm, Splits(made.data, made.seed))
    assert cache.questions(k4).blocks is not None
    with pytest.raises(UsageError, match=f"encodes {most} positions, but the longest prompt"):
        cache.questions(text)
    undecided = k4.model_copy(update={"prompt": k4.prompt.model_copy(update={"answer_form": "auto"})})
    decide = question_cache.decide_answer_form
    monkeypatch.setattr(question_cache, "decide_answer_form", lambda _, questions, ask: ask(questions))
    longest = max(len(question.prompt_ids) + len(question.answer_ids) for question in found.as_text.train)
    monkeypatch.setattr(type(lm), "most_positions", longest - 2)
    with pytest.raises(UsageError, match=r"as text, .*answer_form=auto .* reads, and answers have \d+; shorten"):
        cache.questions(undecided)
    monkeypatch.setattr(question_cache, "decide_answer_form", decide)
    longest = max(len(question.prompt_ids) for question in found.as_text.train) + k4.supervision.num_tokens
    monkeypatch.setattr(type(lm), "most_positions", longest - 1)
    cache.questions(k4)
    taught = k4.model_copy(update={"supervision": k4.supervision.model_copy(update={"kd_weight": 1.0})})
    with pytest.raises(UsageError, match=f"as text, which a teacher reads, and its answer have {longest}; shorten"):
        cache.questions(taught)


def test_copies_of_layers_read_contexts_token_by_token_and_so_set_a_limit_too(folder, monkeypatch):
    arms = {"k4": {"blocks": {"size": 4}}, "layers": {"blocks": {"size": 4, "encoder": "first_layers", "layers": 1}}}
    prompt = {"answer_form": "space", "template": "{{ context }} {{ question }}"}
    made = experiment(folder, baseline="k4", input="blocks", supervision={"ce_weight": 1.0}, prompt=prompt, arms=arms)
    lm = load(made.model)
    cache = QuestionCache(lm, Splits(made.data, made.seed))
    k4, layers = (resolved(made.arm(name), "cpu") for name in arms)
    tokens = 4 * max(len(question.context) for question in cache.questions(layers).encoded.all())
    monkeypatch.setattr(type(lm), "most_positions", tokens - 1)
    cache.questions(k4)
    with pytest.raises(UsageError, match=rf"contexts have up to {tokens} tokens; .* prompt.max_tokens={tokens - 4}"):
        cache.questions(layers)


def test_passages_may_have_the_contexts_that_questions_have_among_distractors(folder, tmp_path):
    write_squad(tmp_path / "train.json", num_articles=6, paragraphs=6)
    data = {"train": str(tmp_path / "train.json"), "test": str(folder / "test.json"), "selection_articles": 2}
    arms = {"long": {"blocks": {"reconstruction": {"distractors": 2}}}, "short": {}}
    made = experiment(folder, data=data, baseline="long", input="blocks", supervision={"ce_weight": 1.0}, arms=arms)
    splits = Splits(made.data, made.seed)
    lm, (long, short) = load(made.model), (resolved(made.arm(name), "cpu") for name in arms)
    cache = QuestionCache(lm, splits)
    for part, (found, single) in enumerate(zip(cache.passages(long), cache.passages(short), strict=True)):
        paragraphs = {one.context for one in splits.training_and_selection()[part]}
        assert len(found.prompts) == len(single.prompts) == len(paragraphs)
        assert {one.example.context for one in single.prompts} == paragraphs
        for one in found.prompts:
            assert len(one.context) == len(one.example.context.encode())  # a byte is a token
            assert len(set(one.example.context.split("\n\n")) & paragraphs) == 3
    # Those of questions, if there are as many: with the same seed the same ones beside the same paragraph.
    asked = made.data.model_copy(update={"distractors": 2, "test": str(tmp_path / "train.json")})
    asked = Splits(asked.model_copy(update={"allow_shared_paragraphs": True}), made.seed)
    drawn = asked.drawn(long.evaluation).train
    assert {one.context for one in drawn} <= {one.example.context for one in cache.passages(long)[0].prompts}


def test_passages_are_encoded_once_whatever_is_asked_of_them_and_for_all_block_sizes(folder):
    other = {"reconstruction": {"modes": ["recall"]}}
    arms = {"k2": {}, "k3": {"blocks": {"size": 3}}, "recall": {"blocks": other}}
    made = experiment(folder, baseline="k2", input="blocks", supervision={"ce_weight": 1.0}, arms=arms)
    cache = QuestionCache(load(made.model), Splits(made.data, made.seed))
    k2, k3, recall = (cache.passages(resolved(made.arm(name), "cpu")) for name in arms)
    assert k2 == k3
    assert set(recall[0].requests) == {"recall"}
    assert all(of_recall.prompts is of_k2.prompts for of_recall, of_k2 in zip(recall, k2, strict=True))
    train, held_out = ({example.context for example in part} for part in Splits(made.data, 0).training_and_selection())
    assert {passage.example.context for passage in k2[0].prompts} <= train
    assert {passage.example.context for passage in k2[1].prompts} <= held_out


def test_texts_count_among_what_an_arm_trains_on_also_without_questions(folder):
    own = {"passages": 10, "requests": 2, "modes": ["autoencoding", "cloze"]}
    texts = {"blocks": {"reconstruction": own}, "training": {"epochs": 0}}
    arms = {"questions": {"blocks": {"reconstruction": {"passages": 0}}}, "texts": texts}
    made = experiment(folder, baseline="questions", input="blocks", supervision={"ce_weight": 1.0}, arms=arms)
    cache = QuestionCache(load(made.model), Splits(made.data, made.seed))
    questions, texts = (resolved(made.arm(name), "cpu") for name in arms)
    prepared = cache.questions(texts)
    lengths = [question.num_tokens for question in prepared.encoded.train]
    assert prepared.training_tokens(texts) == 0
    assert prepared.text_tokens(texts) == 20 * sum(lengths) // len(lengths)
    assert prepared.text_tokens(questions) == 0


def test_answers_longer_than_the_models_positions_are_not_blamed_on_prompts(folder):
    arms = {"text": {"input": "text"}}
    made = experiment(folder, baseline="text", arms=arms, evaluation={"samples": 2, "max_new_tokens": 3000})
    cache = QuestionCache(load(made.model), Splits(made.data, made.seed))
    with pytest.raises(UsageError, match=r"3000 of them are for the answer: lower evaluation\.max_new_tokens"):
        cache.questions(resolved(made.arm("text"), "cpu"))
