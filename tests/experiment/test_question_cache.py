"""Arms share what is prepared of their questions."""

from thinwire.config.auto import resolved
from thinwire.data.splits import Splits
from thinwire.experiment import question_cache
from thinwire.experiment.question_cache import QuestionCache
from thinwire.model.loading import load
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
