"""Exports of arms that read blocks: opened without Thinwire, and refused where they would be read wrongly."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import AutoModelForCausalLM, AutoTokenizer

from card_lines import code_of, said_by
from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.block_encoders import BlockEncoder, BlockMLP
from thinwire.adapter.block_projection import fit_projection
from thinwire.adapter.making import make_block_encoder
from thinwire.api import CompressedLM
from thinwire.checkpoints.load import find_arm
from thinwire.checkpoints.reading import as_read
from thinwire.config.block_settings import BlocksConfig
from thinwire.config.settings import PromptConfig
from thinwire.data.blocks import MISSING, blocks_apart
from thinwire.data.prompts import PromptEncoder
from thinwire.data.sources import load_questions
from thinwire.errors import ThinwireError, UsageError
from thinwire.evaluation.extractors import first_line
from thinwire.export.block_folder import write_block_encoder
from thinwire.export.block_reader import SETTINGS_FILE, WEIGHTS_FILE, BlockReader
from thinwire.export.prepared import prepare
from thinwire.export.usage import around_context
from thinwire.export.write import export
from tiny_models import EOS_ID, example, tiny_gemma_lm
from tiny_sweeps import evaluate, lines

ARMS = ("k2_mlp", "k3_weighted", "k4_mean", "k2_pca")
GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "exporting.md"


@pytest.fixture(scope="module")
def exports(block_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    return {name: export(find_arm(block_run / name, device="cpu"), folder / name) for name in ARMS}


@pytest.fixture(scope="module")
def examples(block_run):
    return {one.id: one for one in load_questions(str(block_run.parent / "test.json"), "test", "refuse")}


def section(heading):
    """The fenced Python of a section of the guide's page."""
    text = re.search(rf"^## {heading}\n(.*?)(?=^## )", GUIDE.read_text(), re.DOTALL | re.MULTILINE)[1]
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_lines_of_the_card_give_the_answers_that_were_scored(block_run, exports, examples, tmp_path):
    peft = export(find_arm(block_run / "k2_mlp", device="cpu"), tmp_path / "peft", "peft")
    asked, expected = [], []
    for name, made in [*exports.items(), ("k2_mlp", peft)]:
        for row in lines(block_run / name / "predictions.jsonl")[:3]:
            asked.append(code_of(made.folder, examples[row["id"]], base=block_run.parent / "model"))
            expected.append(row["text"])
    assert len(set(expected)) > 3
    assert said_by(asked) == expected


def test_the_lines_of_the_guide_give_the_answers_that_were_scored(block_run, exports, examples):
    (code,) = section("Blocks")
    asked, expected = [], []
    before, _, after = around_context(prepare(find_arm(block_run / "k2_mlp", device="cpu")))
    for row in lines(block_run / "k2_mlp" / "predictions.jsonl")[:3]:
        example = examples[row["id"]]
        parts = {"before": before, "context": example.context, "after": after.replace("QUESTION", example.question)}
        given = "\n".join(f"{name} = {value!r}" for name, value in parts.items())
        place = str(exports["k2_mlp"].folder)
        assert code.count("exported/k2_lora") == 1
        asked.append(f"{given}\n{code.replace('exported/k2_lora', place)}")
        expected.append(row["raw_text"].strip())
    assert said_by(asked) == expected


@pytest.mark.parametrize("name", ARMS)
def test_embeddings_for_another_program_give_the_answers_that_were_scored(name, block_run, exports, examples):
    rows = lines(block_run / name / "predictions.jsonl")
    lm = CompressedLM.from_run(block_run / name, device="cpu")
    embeddings = lm.embed_questions([(examples[row["id"]].context, row["question"]) for row in rows])
    model = AutoModelForCausalLM.from_pretrained(exports[name].folder, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(exports[name].folder)
    for found, row in zip(embeddings, rows, strict=True):
        text = tokenizer.decode(model.generate(inputs_embeds=found[None])[0], skip_special_tokens=True)
        assert first_line(text) == row["text"]
    positions = json.loads((block_run / name / "record.json").read_text())["results"]["prompts"]["positions"]
    assert np.mean([len(one) for one in embeddings]) == positions


def test_the_lines_of_the_guide_write_embeddings_as_vllm_reads_them(block_run, tmp_path, monkeypatch):
    writing, reading, asking = section("vLLM")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(writing.replace("runs/positions/k2_lora", str(block_run / "k2_mlp")), names)  # noqa: S102 - our own page
    (expected,) = names["embeddings"]
    prompts = reading.split("prompts = ")[1].splitlines()[0]
    stored = load_file("prompts.safetensors")
    (prompt,) = eval(prompts, {"stored": stored})  # noqa: S307 - our own page
    assert torch.equal(prompt["prompt_embeds"], expected)
    exec(asking, names)  # noqa: S102
    # What vLLM's server does with the request, and what it insists on.
    sent = json.loads(json.dumps(names["request"]))["prompt_embeds"]
    tensor = torch.load(io.BytesIO(base64.b64decode(sent, validate=True)), weights_only=True)
    assert torch.equal(tensor, expected)
    assert tensor.dtype in (torch.float32, torch.bfloat16, torch.float16)
    assert tensor.ndim == 2


@pytest.mark.parametrize("name", ARMS)
def test_the_reader_makes_the_embeddings_that_the_arm_reads(name, block_run, exports):
    arm = find_arm(block_run / name, device="cpu")
    before, context, after = around_context(prepare(arm))
    assert (context, "QUESTION" in after) == ("TEXT", True)
    model = AutoModelForCausalLM.from_pretrained(exports[name].folder, dtype="auto")
    reader = BlockReader(exports[name].folder, model.get_input_embeddings())
    tokenizer = AutoTokenizer.from_pretrained(exports[name].folder)
    lm = CompressedLM.from_run(block_run / name, device="cpu")
    texts = ["A text with café and 東京 in it.", " one \n", "abc", "abcdefgh " * 5]
    for text in texts:
        (expected,) = lm.embed_questions([(text, "QUESTION")])
        torch.testing.assert_close(reader.embed(tokenizer, before, text, after), expected)
    # A letter is a token here: three of them are one block and a half, one, or three quarters of one.
    whole = len(lm.embed([before + after], chat=False)[0])
    size = {"k2_mlp": 2, "k3_weighted": 1, "k4_mean": 1, "k2_pca": 2}[name]
    assert len(reader.embed(tokenizer, before, "abc", after)) == whole + size
    assert len(reader.embed(tokenizer, before, "", after)) == whole


def test_the_model_itself_is_one_that_other_programs_open(exports):
    for made in exports.values():
        # Servers take every safetensors file beside config.json for the model's.
        assert [file.name for file in made.folder.glob("*.safetensors")] == ["model.safetensors"]
        assert re.fullmatch(r"the model reads blocks of \d tokens through block_reader\.py; .*", made.notes[0])
        assert made.num_bytes == sum(file.stat().st_size for file in made.folder.rglob("*") if file.is_file())
        assert "thinwire" not in re.findall(
            r"^\s*(?:from|import) (\w+)", (made.folder / "block_reader.py").read_text(), re.M
        )
    card = (exports["k3_weighted"].folder / "README.md").read_text()
    assert "| input | blocks of 3 tokens of the context, by the encoder `weighted_mean` |" in card
    assert "where each 3 tokens of the context become one, by an encoder of their own" in card
    assert re.search(r"^\| test prompts \| \d+ tokens in \d+ positions, on average \|$", card, re.M)
    assert "codes of blocks" not in card
    card = (exports["k2_pca"].folder / "README.md").read_text()
    kept = r"which keep \d+\.\d % of the variance of the training prompts' blocks"
    assert re.search(rf"^\| codes of blocks \| 8 numbers, {kept} \|$", card, re.M)
    assert json.loads((exports["k2_mlp"].folder / SETTINGS_FILE).read_text()) == {
        "version": 2,
        "encoder": "mlp",
        "size": 2,
        "first_ids": [],
    }


@pytest.mark.parametrize("encoder", ["mean", "weighted_mean", "mlp", "pca"])
def test_the_embeddings_of_a_model_that_scales_its_own_are_scaled_in_blocks_too(encoder, tmp_path):
    lm = tiny_gemma_lm()
    assert not torch.equal(lm.embedding_matrix, lm.model.get_input_embeddings().weight)
    config = BlocksConfig(size=2, encoder=encoder, hidden=8)
    seen = np.random.default_rng(0).integers(0, 261, (50, 2))
    projection = fit_projection(lm.embedding_matrix, seen, np.arange(1, 51), config) if encoder == "pca" else None
    made = make_block_encoder(config, lm.embedding_matrix, torch.Generator().manual_seed(0), projection)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    (tmp_path / SETTINGS_FILE).parent.mkdir()
    settings = {"version": 2, "encoder": encoder, "size": 2, "first_ids": []}
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(settings))
    save_file(dict(made.named_parameters()) | dict(made.named_buffers()), tmp_path / WEIGHTS_FILE)
    members = np.array([[5, 6], [7, MISSING], [260, 260]])
    expected = BlockEmbeddings(lm.embedding_matrix, made, blocks_apart(members))(torch.arange(3) + 261)
    found = BlockReader(tmp_path, lm.model.get_input_embeddings()).encode(torch.from_numpy(members))
    torch.testing.assert_close(found, expected)
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(settings | {"encoder": "transformer"}))
    with pytest.raises(ValueError, match="has the block encoder 'transformer', version 2; this file knows mean, "):
        BlockReader(tmp_path, lm.model.get_input_embeddings())


def test_the_reader_begins_a_prompt_as_its_tokenizer_does(block_run, tmp_path):
    prepared = prepare(find_arm(block_run / "k3_weighted", device="cpu"))
    tokenizer = prepared.lm.tokenizer
    begin = processors.TemplateProcessing(single="<|eos|> $A", special_tokens=[("<|eos|>", EOS_ID)])
    tokenizer.backend_tokenizer.post_processor = begin
    encoder = PromptEncoder(tokenizer, PromptConfig(style="plain"))
    write_block_encoder(replace(prepared, encoder=encoder), tmp_path)
    assert json.loads((tmp_path / SETTINGS_FILE).read_text())["first_ids"] == [EOS_ID]
    reader = BlockReader(tmp_path, prepared.lm.model.get_input_embeddings())
    question = example(0)
    (prompt,), inputs = as_read(prepared.parts.inputs, [encoder.encode(question)])
    before, _, after = encoder.render(question).partition(question.context)
    expected = inputs.matrix(torch.float32)[list(prompt.prompt_ids)]
    torch.testing.assert_close(reader.embed(tokenizer, before, question.context, after), expected)


class OtherEncoder(BlockMLP):
    """One that a reader of its parent would compute wrongly."""

    def forward(self, rows, is_there):
        return super().forward(rows, is_there) + 1


def with_encoder(prepared, encoder):
    inputs = prepared.parts.inputs
    inputs.encoder = encoder
    return replace(prepared, parts=replace(prepared.parts, inputs=inputs))


def test_an_encoder_that_the_reader_does_not_compute_is_refused(block_run, tmp_path):
    arm = find_arm(block_run / "k2_mlp", device="cpu")
    prepared = prepare(arm)
    own = prepared.parts.inputs.encoder
    for other in (OtherEncoder(prepared.matrix, arm.config.blocks, torch.Generator()), BlockEncoder()):
        with pytest.raises(
            UsageError, match=r"has the block encoder mlp, which block_reader\.py of an export does not"
        ):
            write_block_encoder(with_encoder(prepared, other), tmp_path)
    blocks = arm.config.blocks.model_copy(update={"encoder": "transformer"})
    unknown = replace(arm, config=arm.config.model_copy(update={"blocks": blocks}))
    with pytest.raises(UsageError, match=r"has the block encoder transformer, which .* has mean, .*, mlp, pca"):
        export(unknown, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # The same class, which computes something else since the reader was written.
    own.map.register_forward_hook(lambda module, inputs, output: output * 1.01)
    with pytest.raises(ThinwireError, match=r"block_reader\.py does not compute the embeddings of"):
        write_block_encoder(with_encoder(prepared, own), tmp_path)


def test_forms_that_cannot_hold_the_encoder_are_refused(block_run, tmp_path):
    with pytest.raises(UsageError, match=r"no GGUF file can hold their encoder, .* take --format transformers"):
        export(find_arm(block_run / "k2_mlp", device="cpu"), tmp_path / "out", "gguf")
    with pytest.raises(UsageError, match=r"has no LoRA, .* take --format transformers"):
        export(find_arm(block_run / "k3_weighted", device="cpu"), tmp_path / "out", "peft")
    assert not (tmp_path / "out").exists()


def test_an_export_is_not_scored_as_a_model_that_reads_tokens(exports, block_run):
    with pytest.raises(
        UsageError, match=r"reads blocks of tokens, which a bare model does not; evaluate the arm's own"
    ):
        evaluate(exports["k2_mlp"].folder, block_run.parent / "test.json")
