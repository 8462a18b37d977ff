"""The training on texts in a model card: from the settings and the record, and nothing where there was none."""

import pytest

from thinwire.checkpoints.load import find_arm
from thinwire.config.experiment import ArmConfig
from thinwire.export.text_training import text_training_rows
from thinwire.export.write import export
from thinwire.results.arm_record import TextReconstruction, read_arm_record
from thinwire.schema import build

FOUND = TextReconstruction(passages=200, tokens=31_416, cross_entropy=0.0214, accuracy=0.9956)
LORA = {"rank": 2}


def rows(*, lora=LORA, encoder="mlp", training=None, **reconstruction):
    blocks = {"encoder": encoder, "reconstruction": {"passages": 40_000, **reconstruction}}
    settings = {"input": "blocks", "blocks": blocks, "lora": lora, "training": training or {}}
    settings["supervision"] = {"ce_weight": 1.0}
    return dict(text_training_rows(build(ArmConfig, settings, where=""), FOUND, "`squad`"))


def test_all_of_it_is_said():
    found = rows(requests=3, modes=["cloze", "autoencoding", "cloze"], encoder_lr=0.0002, lora_lr=0.003)
    assert found == {
        "training on texts": "first, 40,000 passages of the contexts of `squad`; 120,000 requests, 3 each; "
        "cross-entropy",
        "asked of a text": "fill a blank in quoted words of the text (`cloze`); repeat the text (`autoencoding`)",
        "encoder, on texts": "trained at a peak rate of 0.0002",
        "LoRA, on texts": "trained at a peak rate of 0.003, and went on from there with the questions (`kept`)",
        "held-out texts": "99.6 % of 31,416 tokens of 200 texts written rightly out of their blocks, each after the "
        "right ones before it, before the questions; cross-entropy 0.0214 nats a token",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lora": {"rank": 0}}, None),
        ({"lora": {"rank": 0}, "training": {"epochs": 0}}, None),
        ({"training": {"epochs": 0}}, "trained at a peak rate of 0.001 (`kept`)"),
        (
            {"own": "restarted"},
            "trained at a peak rate of 0.001, then set back to where it began (`restarted`); held-out texts were "
            "measured before that",
        ),
        ({"own": "absent"}, "left out until the questions (`absent`)"),
        ({"own": "absent", "training": {"epochs": 0}}, "left out (`absent`)"),
        ({"lora": {"rank": 2, "trained": False, "start_from": "runs/a/b"}}, "in place, but not trained"),
    ],
)
def test_what_became_of_lora_is_said(changes, expected):
    own = {"lora": changes.pop("own")} if "own" in changes else {}
    blocks = {"reconstruction": {"passages": 8, **own}}
    settings = {"input": "blocks", "blocks": blocks, "lora": LORA, "supervision": {"ce_weight": 1.0}, **changes}
    config = build(ArmConfig, settings, where="")
    assert dict(text_training_rows(config, FOUND, "")).get("LoRA, on texts") == expected


def test_an_encoder_that_has_no_parameters_has_no_rate():
    assert rows(encoder="mean")["encoder, on texts"] == "not trained"


def test_texts_alone_come_before_no_questions():
    found = rows(training={"epochs": 0})
    assert found["training on texts"].startswith("40,000 passages")
    assert "questions" not in str(found)


def test_losses_and_paragraphs_beside_a_passage_are_said():
    said = rows(kd_weight=0.5, distractors=1, batch_size=4)["training on texts"]
    assert "40,000 passages of the contexts of `squad`, 1 other paragraph beside each; 40,000 requests, 1 each" in said
    assert said.endswith("cross-entropy (weight 1) and KL to the model that reads the text (weight 0.5)")


def test_an_arm_without_it_has_no_rows():
    assert text_training_rows(ArmConfig(), None, "`squad`") == []


@pytest.mark.parametrize("form", ["transformers", "peft"])
def test_the_card_of_every_form_has_it(form, block_run, tmp_path):
    export(find_arm(block_run / "k2_mlp", device="cpu"), tmp_path / "out", form)
    card = (tmp_path / "out" / "README.md").read_text().split("## What was trained")[1].split("## Scores")[0]
    found = read_arm_record(block_run / "k2_mlp").done.text_reconstruction
    assert found.tokens > 0
    assert "| training on texts | first, 500 passages of the contexts of `train.json`; 500 requests, 1 each;" in card
    assert "| LoRA, on texts | trained at a peak rate of 0.001, and went on from there" in card
    right = f"| held-out texts | {100 * found.accuracy:.1f} % of {found.tokens:,} tokens of {found.passages:,} texts "
    assert right in card
    assert card.index("training on texts") < card.index("training data")


def test_the_card_of_an_arm_that_reads_no_blocks_has_none_of_it(run, tmp_path):
    export(find_arm(run / "r2", device="cpu"), tmp_path / "out")
    assert "on texts" not in (tmp_path / "out" / "README.md").read_text()
