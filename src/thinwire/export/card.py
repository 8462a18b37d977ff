"""The model card of an export, written from the arm's record: what it is, what it scored, where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import huggingface_hub
import transformers

from thinwire.config.experiment import ArmConfig
from thinwire.export.origin import Origin
from thinwire.export.prepared import PreparedArm
from thinwire.export.scores import scores
from thinwire.export.text_training import text_training_rows
from thinwire.export.usage import usage
from thinwire.report.code_sizes import matrix_bytes
from thinwire.report.summary import commit
from thinwire.results.experiment_file import has_experiment_file, read_experiment_file
from thinwire.results.sweep_header import SweepHeader, read_header

Format = Literal["transformers", "peft", "gguf"]

_LIBRARIES = {"transformers": "transformers", "peft": "peft", "gguf": "gguf"}


def model_card(prepared: PreparedArm, origin: Origin, form: Format, files: Sequence[str] = ()) -> str:
    """Return the text of ``README.md``.

    Args:
        files: names of the files of a GGUF export.

    Raises:
        ThinwireError: a record of the sweep is damaged.
    """
    arm = prepared.arm
    header = read_header(arm.run)
    parts = [
        _metadata(origin, form, has_lora=prepared.parts.factors is not None),
        f"# {arm.record.name} of {header.name}, on {origin.name}",
        _what_it_is(prepared, origin, form),
        "## Use",
        usage(prepared, origin, form, files[0] if files else ""),
        *_remarks(prepared, origin, form),
        "## What was trained",
        _table(_settings(prepared, header)),
        "## Scores",
        *scores(arm),
        "## Limits",
        _limits(prepared),
        "## Where it comes from",
        _table(_provenance(prepared, header, origin)),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(origin: Origin, form: Format, *, has_lora: bool) -> str:
    """Return the entries that the hub reads; what is not known is left out."""
    entries: dict[str, Any] = {
        "base_model": origin.repository,
        "library_name": _LIBRARIES[form],
        "pipeline_tag": "text-generation",
        "tags": ["thinwire", *(["lora"] if has_lora else []), *(["gguf"] if form == "gguf" else [])],
    }
    if origin.licence is not None:
        licence = origin.licence
        entries |= {"license": licence.identifier, "license_name": licence.name, "license_link": licence.link}
    known = {name: value for name, value in entries.items() if value is not None}
    return f"---\n{huggingface_hub.ModelCardData(**known).to_yaml()}\n---"


def _what_it_is(prepared: PreparedArm, origin: Origin, form: Format) -> str:
    matrix = "its own input embeddings"
    if prepared.is_rebuilt:
        matrix = "input embeddings that were rebuilt from compressed codes"
    elif prepared.block_size is not None:
        matrix += f", where each {prepared.block_size} tokens of the context become one, by an encoder of their own"
    adapted = ", and with LoRA" if prepared.parts.factors is not None else ""
    kept = " Its output head is the original embedding matrix." if prepared.is_rebuilt else ""
    kind = {
        "transformers": "A checkpoint of transformers",
        "peft": "An adapter of peft, to be loaded onto the base model",
        "gguf": "A GGUF file for llama.cpp",
    }[form]
    return f"{kind}: {origin.name} with {matrix}{adapted}, trained by Thinwire.{kept}"


def _remarks(prepared: PreparedArm, origin: Origin, form: Format) -> list[str]:
    """Say what the reader has to know to get the answers that were scored."""
    found = []
    if prepared.block_size is not None:
        found.append(
            "`block_reader.py` needs torch and safetensors; read it before you run it. Without it, the model reads "
            "plain tokens, which it was not trained for."
        )
    if prepared.encoder.style == "chat" and prepared.block_size is not None:
        found.append("Thinwire trained and scored it with this prompt, its chat template's, and greedy decoding.")
    elif prepared.encoder.style == "chat":
        found.append("Thinwire trained and scored it with the chat template, this message and greedy decoding.")
    else:
        found.append(
            "Thinwire trained and scored it with this plain prompt and greedy decoding, and ended an answer at a line "
            "end too; here, take its first line."
        )
    if kept := _kept_of_contexts(prepared.arm.config):
        found.append(
            f"It was trained and scored on shortened contexts, and nothing here shortens them: keep {kept}, before a "
            "context goes into the prompt. `thinwire evaluate` and `CompressedLM.answer` do so with the arm itself."
        )
    if form == "peft" and prepared.is_rebuilt and prepared.head_is_tied:
        found.append(
            "The base model's output head shares its matrix with the input embeddings, and must keep it: do not set "
            "`ensure_weight_tying`, and do not save the model after `merge_and_unload()` with "
            "`tie_word_embeddings` on. `thinwire export` writes a merged checkpoint (`--format transformers`)."
        )
    if form == "peft" and origin.is_gguf:
        found.append(
            "The adapter belongs to the weights of that GGUF file, not to the unquantised ones of the repository that "
            "it was made from. Releases of transformers without `GgufConfig` unpack its weights by themselves: leave "
            "that argument out."
        )
    if form == "gguf":
        found.append(
            "llama.cpp also ends an answer at end tokens that it knows by name, at some of which Thinwire goes on."
        )
    return [" ".join(found)]


def _settings(prepared: PreparedArm, header: SweepHeader) -> list[tuple[str, str]]:
    arm, done = prepared.arm, prepared.arm.record.done
    rows = []
    if prepared.block_size is not None:
        kind = arm.config.blocks.encoder
        rows.append(("input", f"blocks of {prepared.block_size} tokens of the context, by the encoder `{kind}`"))
        if done.block_codes is not None:
            codes = done.block_codes
            kept = f"{100 * codes.variance_kept:.1f} % of the variance of the training prompts' blocks"
            rows.append(("codes of blocks", f"{codes.code_width} numbers, which keep {kept}"))
        if done.prompts is not None:
            tokens, positions = done.prompts.tokens, done.prompts.positions
            rows.append(("test prompts", f"{tokens:,.0f} tokens in {positions:,.0f} positions, on average"))
    elif done.codec is None:
        rows.append(("input", "the text's own embeddings"))
    else:
        bits = f", {done.codec.code_bits} bits" if done.codec.code_bits else ""
        width, numbers = header.model.embedding_width, done.codec.code_width
        rows.append(("codec", f"{done.codec.label}: {numbers} numbers for {width} ({width / numbers:.3g}:1){bits}"))
        whole = header.model.vocabulary * width * header.model.bytes_per_number
        stored = matrix_bytes(header.model, arm.record) or 0
        rows.append(("codes, adapter and codec", f"{stored / 1e6:,.2f} MB for a matrix of {whole / 1e6:,.2f}"))
        decoded = "by the codec" if arm.config.input == "codec" else "by a trained adapter"
        rows.append(("embeddings rebuilt", decoded))
    if shortened := _kept_of_contexts(arm.config):
        rows.append(("contexts", f"shortened to {shortened}"))
    lora = arm.config.lora
    if prepared.parts.factors is None:
        rows.append(("LoRA", "none"))
    else:
        layers = (
            "all layers"
            if lora.layers == "all"
            else f"the {lora.position} {lora.layers} of {header.model.num_layers} layers"
        )
        kinds = {"attention": "all linear modules of attention", "all-linear": "all linear modules"}
        named = lora.targets
        targets = kinds[named] if isinstance(named, str) else ", ".join(f"`{name}`" for name in named)
        rows.append(("LoRA", f"rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g}, {layers}: {targets}"))
    trained = done.trainable_parameters.total
    rows.append(("trained parameters", f"{trained:,}"))
    data = _data(prepared, "train")
    rows += text_training_rows(arm.config, done.text_reconstruction, data)
    if done.training is not None:
        questions = header.training_questions or header.samples
        rows.append(("training data", f"{questions:,} questions of {data}"))
        rows.append(("epochs", f"{arm.config.training.epochs}, of which number {done.training.best_epoch} was kept"))
    rows.append(("seed", str(arm.config.seed)))
    return rows


def _kept_of_contexts(config: ArmConfig) -> str | None:
    """Say what an arm's prompts keep of each context; None where they keep all of it."""
    share, choice = config.prompt.context_share, config.prompt.context_choice
    if share == 1 or not config.context:
        return None
    size = f"{100 * share:.10g} % of its tokens, rounded up"
    if choice == "beginning":
        return f"the beginning, {size} (`prompt.context_share`)"
    return (
        f"the sentences that BM25 scores highest against the question, in their order, the last one cut, {size} "
        "(`prompt.context_share`, `prompt.context_choice`)"
    )


def _data(prepared: PreparedArm, split: str) -> str:
    """Name the data of a split as the experiment does; of a file, its name alone."""
    if not has_experiment_file(prepared.arm.run):
        return "data that the run does not name"
    data = read_experiment_file(prepared.arm.run).get("data")
    name = data.get(split) if isinstance(data, dict) else None
    if not isinstance(name, str):
        return "data that the run does not name"
    return f"`{name.rsplit('/', 1)[-1] if name.startswith(('/', '.', '~')) else name}`"


def _limits(prepared: PreparedArm) -> str:
    found = [
        "Scored on one task, short answers to questions about a given text, with prompts of the form above: nothing "
        "else was measured, neither other tasks nor whether answers are safe.",
        "A rebuilt embedding matrix is as large as the original: these files are not compressed."
        if prepared.is_rebuilt
        else "",
        "The base model's licence and limits hold for it too.",
    ]
    return " ".join(filter(None, found))


def _provenance(prepared: PreparedArm, header: SweepHeader, origin: Origin) -> list[tuple[str, str]]:
    record = prepared.arm.record
    model = f"{origin.name}, revision `{origin.revision}`"
    if header.model.quantisation:
        model += f", stored as {header.model.quantisation}"
    rows = [("base model", model)]
    if origin.licence is None:
        rows.append(("licence", "not stated by the base model's own files"))
    rows += [
        ("computed in", record.model.dtype),
        ("sweep", f"{header.name}, {header.started_at}"),
        ("made by", f"thinwire {record.environment.thinwire}, commit {commit(record.environment)}"),
        ("on", record.environment.device),
        ("with", ", ".join(f"{name} {version}" for name, version in record.environment.packages.items())),
        ("record", f"config `{record.config_hash[:12]}`, test questions `{record.data.test[:12]}`"),
        ("exported with", f"transformers {transformers.__version__}"),
    ]
    return rows


def _table(rows: Sequence[tuple[str, str]]) -> str:
    lines = [f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in rows]
    return "\n".join(["| | |", "| --- | --- |", *lines])
