"""The default model, trained for a moment, as its exports give the same answers to other programs."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from llama_cpp_server import ask_llama_cpp
from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.block_encoders import WeightedMean
from thinwire.assets import is_fetched
from thinwire.checkpoints.load import find_arm
from thinwire.checkpoints.reading import as_read
from thinwire.config.block_settings import BlockKind
from thinwire.config.settings import ModelConfig, PromptConfig
from thinwire.data.blocks import no_blocks
from thinwire.data.prompts import PromptEncoder
from thinwire.experiment.sweep import run_sweep
from thinwire.export.block_reader import SETTINGS_FILE, WEIGHTS_FILE, BlockReader
from thinwire.export.write import export
from thinwire.model.loading import load
from tiny_models import example, write_squad
from tiny_sweeps import experiment, lines

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(not is_fetched("smollm2-135m"), reason="the default model is not here: run `thinwire fetch`"),
]

ASK = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, file, messages = json.load(sys.stdin)
more = {"gguf_file": file} if file else {}
tokenizer = AutoTokenizer.from_pretrained(folder, **more)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more)
settings = {"do_sample": False, "max_new_tokens": 16} if file else {}
for message in messages:
    chat = [{"role": "user", "content": message}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    output = model.generate(**inputs, **settings)[0, inputs["input_ids"].shape[1] :]
    print(json.dumps([tokenizer.decode(output, skip_special_tokens=True), output[-1].item()]))
"""
END_OF_TURN = 2
"""``<|im_end|>`` of SmolLM2."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default_model")
    write_squad(folder / "train.json", num_articles=3, questions=2)
    write_squad(folder / "test.json", num_articles=1, questions=3, first=6)
    made = experiment(
        folder,
        model={"name": "smollm2-135m", "device": "cpu", "dtype": "float32"},
        input="codec",
        codec={"kind": "quantized_embeddings"},
        training={"epochs": 1, "batch_size": 4, "lora_lr": 1e-3},
        evaluation={"samples": 3, "selection_samples": 2, "max_new_tokens": 16},
        arms={"baseline": {"lora": {"rank": 2, "dropout": 0.0}}},
        controls={},
    )
    run_sweep(made, folder / "run")
    return folder / "run"


def asked(run):
    """The messages of the test questions, and the records of their answers."""
    rows = lines(run / "baseline" / "predictions.jsonl")
    document = json.loads((run.parent / "test.json").read_text())
    (paragraph,) = document["data"][0]["paragraphs"]
    begin = "Answer the question with a short phrase from the text.\n\nText: "
    return [f"{begin}{paragraph['context']}\n\nQuestion: {row['question']}" for row in rows], rows


@pytest.mark.parametrize("form", ["transformers", "gguf"])
def test_the_default_model_answers_alike_in_transformers(run, form, tmp_path):
    made = export(find_arm(run / "baseline", device="cpu"), tmp_path / "out", form)
    messages, rows = asked(run)
    file = next((path.name for path in made.folder.glob("*.gguf")), None)
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([str(made.folder), file, messages]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [text for text, _ in found] == [row["raw_text"] for row in rows]
    ended = [row["stop_reason"] == "end" for row in rows]
    assert any(ended)
    assert [last == END_OF_TURN for _, last in found] == ended
    card = (made.folder / "README.md").read_text()
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct\n" in card
    assert "license: apache-2.0\n" in card
    # The embedding matrix, 49,152 rows of 576 float32 numbers, stands beside the original in the head.
    assert f"{49_152 * 576 * 4 / 1e6:.1f} MB more" in made.notes[0] == made.notes[-1]


def test_the_default_model_answers_alike_in_llama_cpp(run, tmp_path):
    made = export(find_arm(run / "baseline", device="cpu"), tmp_path / "out", "gguf")
    messages, rows = asked(run)
    (file,) = made.folder.glob("*.gguf")
    chats = [[{"role": "user", "content": message}] for message in messages]
    found = ask_llama_cpp(
        file, [("/v1/chat/completions", {"messages": chat, "temperature": 0, "max_tokens": 16}) for chat in chats]
    )
    choices = [answer["choices"][0] for answer in found]
    assert [choice["message"]["content"] for choice in choices] == [row["raw_text"] for row in rows]
    ended = [row["stop_reason"] == "end" for row in rows]
    assert any(ended)
    assert [choice["finish_reason"] == "stop" for choice in choices] == ended


@pytest.mark.parametrize("style", ["chat", "plain"])
def test_the_reader_of_blocks_finds_the_context_among_the_default_models_tokens(style, tmp_path):
    lm = load(ModelConfig(name="smollm2-135m", device="cpu", dtype="float32"))
    made = WeightedMean(3, lm.embedding_matrix.shape[1])
    torch.nn.init.normal_(made.weights, generator=torch.Generator().manual_seed(0))
    (tmp_path / SETTINGS_FILE).parent.mkdir()
    settings = {"version": 2, "encoder": "weighted_mean", "size": 3, "first_ids": []}
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(settings))
    save_file(dict(made.named_parameters()), tmp_path / WEIGHTS_FILE)
    reader = BlockReader(tmp_path, lm.model.get_input_embeddings())
    encoder = PromptEncoder(lm.tokenizer, PromptConfig(style=style))
    texts = [
        "Ada wrote it in 1843.",
        "  caf\u00e9 \u6771\u4eac \U0001f600!\n",
        "\u00e9",
        "1843",
        "a\n\nb? Text: a",
        "x" * 50,
    ]
    questions = [encoder.encode(example(number, context=text)) for number, text in enumerate(texts)]
    prompts, inputs = as_read(
        BlockEmbeddings(lm.embedding_matrix, made, no_blocks(BlockKind(3, reads_context=False))), questions
    )
    matrix = inputs.matrix(torch.float32)
    for prompt in prompts:
        before, _, after = encoder.render(replace(prompt.example, context="CONTEXT")).partition("CONTEXT")
        found = reader.embed(lm.tokenizer, before, prompt.example.context, after)
        torch.testing.assert_close(found, matrix[list(prompt.prompt_ids)])
    assert max(prompt.positions_saved for prompt in prompts) > 2
