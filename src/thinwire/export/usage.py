"""The Python or shell lines of a model card that open an export and ask it a question."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from thinwire.config.settings import ColumnsConfig
from thinwire.data.prompts import PromptEncoder
from thinwire.data.squad import Example
from thinwire.export.origin import Origin
from thinwire.export.prepared import PreparedArm
from thinwire.model.loading import gguf_file
from thinwire.results.experiment_file import has_experiment_file, read_experiment_file
from thinwire.schema import build

PLACE = "PATH_OR_ORG/NAME"
"""Stands in a card for where the reader has the export."""
CONTEXT, QUESTION, CHOICES = "TEXT", "QUESTION", ("FIRST OPTION", "SECOND OPTION")
"""Stand in a card for the reader's own text, question and options."""

_MARK = "Cthinwire7"
"""A context that no prompt contains otherwise."""

_FIRST_LINE = 'next((line.strip() for line in text.splitlines() if line.strip()), "")'


def usage(prepared: PreparedArm, origin: Origin, form: Literal["transformers", "peft", "gguf"], file: str) -> str:
    """Return the section of a card on how to use it; ``file`` is the name of a GGUF file."""
    if form == "gguf":
        return _with_llama_cpp(prepared, file)
    lines = _loading_adapter(prepared, origin) if form == "peft" else _loading()
    settings = "settings" if form == "peft" else None
    if prepared.block_size is not None:
        return _fenced("python", ["import sys", "", *lines, *_asking_in_blocks(prepared, settings)])
    return _fenced("python", [*lines, *_asking(prepared, settings)])


def _loading() -> list[str]:
    return [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'place = "{PLACE}"',
        "tokenizer = AutoTokenizer.from_pretrained(place)",
        'model = AutoModelForCausalLM.from_pretrained(place, dtype="auto")',
    ]


def _loading_adapter(prepared: PreparedArm, origin: Origin) -> list[str]:
    unpacking = ", GgufConfig" if origin.is_gguf else ""
    base = f'"{origin.repository}", revision="{origin.revision}"'
    if origin.is_gguf:
        # Thinwire reads a GGUF file in bfloat16 first, whatever it computes in. Weights that stay packed, as they do in
        # newer releases of transformers unless told otherwise, are no modules that peft could adapt.
        file = _file_name(prepared, origin)
        base = f'"FOLDER", gguf_file="{file}", quantization_config=GgufConfig(dequantize=True)'
    elif origin.repository is None:
        base = '"BASE_MODEL"'
    read = "bfloat16" if origin.is_gguf else prepared.arm.record.model.dtype
    dtype = prepared.arm.record.model.dtype
    return [
        "import torch",
        "from peft import PeftModel",
        f"from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig{unpacking}",
        "",
        f'place = "{PLACE}"',
        "tokenizer = AutoTokenizer.from_pretrained(place)",
        "base = AutoModelForCausalLM.from_pretrained(",
        f"    {base}, dtype=torch.{read}",
        f").to(torch.{dtype})" if dtype != read else ")",
        "model = PeftModel.from_pretrained(base, place)",
        "settings = GenerationConfig.from_pretrained(place)",
    ]


def _file_name(prepared: PreparedArm, origin: Origin) -> str:
    found = gguf_file(prepared.lm.name)
    return found.name if found else origin.name


def _asking(prepared: PreparedArm, settings: str | None) -> list[str]:
    encoder, places = prepared.encoder, _places(prepared)
    more = f", generation_config={settings}" if settings else ""
    if encoder.style == "chat":
        asked = [
            f"message = {_literal(encoder.message(places))}",
            f'chat = [{_earlier(encoder)}{{"role": "user", "content": message}}]',
            "inputs = tokenizer.apply_chat_template(",
            '    chat, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
            ")",
        ]
    else:
        asked = [f"prompt = {_literal(encoder.render(places))}", 'inputs = tokenizer(prompt, return_tensors="pt")']
    return [
        "",
        *asked,
        f"output = model.generate(**inputs{more})",
        'text = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)',
        f"print({_FIRST_LINE})",
    ]


def _asking_in_blocks(prepared: PreparedArm, settings: str | None) -> list[str]:
    more = f", generation_config={settings}" if settings else ""
    before, context, after = around_context(prepared)
    return [
        "",
        "sys.path.append(place)  # a folder; of a model of the hub, huggingface_hub.snapshot_download(place)",
        "from block_reader import BlockReader",
        "",
        "reader = BlockReader(place, model.get_input_embeddings())",
        f"before = {_literal(before)}",
        f"context = {_literal(context)}",
        f"after = {_literal(after)}",
        "embeddings = reader.embed(tokenizer, before, context, after)",
        f"output = model.generate(inputs_embeds=embeddings[None]{more})",
        "text = tokenizer.decode(output[0], skip_special_tokens=True)",
        f"print({_FIRST_LINE})",
    ]


def around_context(prepared: PreparedArm) -> tuple[str, str, str]:
    """Return the prompt up to the context, the context and the rest; without a context, all of it and nothing."""
    places = _places(prepared)
    before, found, after = prepared.encoder.render(replace(places, context=_MARK)).partition(_MARK)
    if places.context and found:
        return before, places.context, after
    return prepared.encoder.render(places), "", ""


def _places(prepared: PreparedArm) -> Example:
    """Return the question that stands in a card for the reader's own; it has what those of the sweep's data have."""
    run = prepared.arm.run
    data = read_experiment_file(run).get("data") if has_experiment_file(run) else None
    named = data.get("columns") if isinstance(data, dict) else None
    columns = build(ColumnsConfig, named if isinstance(named, dict) else {}, where=f"{run}: data.columns")
    return Example(
        id="",
        article="",
        paragraph_id="",
        context=CONTEXT if columns.context else "",
        question=QUESTION if columns.question else "",
        answers=("",),
        answer_start=-1,
        choices=CHOICES if columns.choices else (),
    )


def _earlier(encoder: PromptEncoder) -> str:
    """Return the turns before the question as items of a list in Python."""
    turns = encoder.config.turns
    return "".join(f'{{"role": "{one.role}", "content": {_literal(one.content)}}}, ' for one in turns)


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _with_llama_cpp(prepared: PreparedArm, file: str) -> str:
    encoder, longest = prepared.encoder, prepared.arm.config.evaluation.max_new_tokens
    places = _places(prepared)
    is_chat = encoder.style == "chat"
    turns = encoder.config.turns if is_chat else ()
    earlier = [
        "The conversation before it:",
        _fenced("text", [f"{turn.role}: {turn.content}" for turn in turns]),
    ]
    kind = "message to the chat template" if is_chat else "prompt, without a chat template (`-no-cnv`)"
    return "\n\n".join(
        [
            _fenced("bash", [f"llama-cli -m {file} --temp 0 -n {longest}   # or: llama-server -m {file}"]),
            f"The {kind}:",
            _fenced("text", [encoder.message(places) if is_chat else encoder.render(places)]),
            *(earlier if turns else []),
        ]
    )


def _fenced(language: str, lines: list[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
