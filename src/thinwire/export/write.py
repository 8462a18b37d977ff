"""Export a finished arm in the form of another program: transformers, peft or llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from thinwire.checkpoints.load import FinishedArm
from thinwire.errors import UsageError, shown
from thinwire.export.block_folder import READER_FILE, check_can_hold_blocks, write_block_encoder
from thinwire.export.card import model_card
from thinwire.export.gguf_file import base_gguf, write_gguf
from thinwire.export.origin import find_origin
from thinwire.export.peft_folder import check_has_lora, write_peft
from thinwire.export.prepared import PreparedArm, prepare
from thinwire.export.transformers_folder import write_transformers
from thinwire.files import replacing_folder, write_text

Format = Literal["transformers", "peft", "gguf"]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An export that was written."""

    folder: Path
    num_bytes: int
    """Of all its files."""
    notes: tuple[str, ...]
    """What the user should know of its size and use, a sentence each."""


def checked_format(value: str) -> Format:
    """Check the name of a format.

    Raises:
        UsageError: there is none of that name.
    """
    for known in get_args(Format):
        if value == known:
            found: Format = known
            return found
    raise UsageError(f"--format takes {', '.join(get_args(Format))}, got {shown(value)}")


def export(arm: FinishedArm, target: Path, form: Format = "transformers") -> Exported:
    """Write ``arm`` into the new folder ``target``, with a model card.

    - ``transformers``: a checkpoint with replaced embeddings and merged LoRA.
    - ``peft``: an adapter of LoRA factors and the rebuilt embedding matrix, for the base model.
    - ``gguf``: one file for llama.cpp, of an arm whose model was read from a GGUF file.

    An arm that reads blocks of tokens has their encoder beside it (``block_folder``).

    An arm trained over quantised weights is merged into the original ones.

    Raises:
        UsageError: ``target`` exists, or the arm cannot have this form.
        StorageError: it cannot be written; nothing is left.
        ThinwireError: a file of the arm is missing or damaged.
    """
    if target.exists():
        raise UsageError(f"{target} exists, and nothing is overwritten; choose another folder")
    check_can_hold_blocks(arm, form)
    if form == "gguf":
        base_gguf(arm.record.model.name)
    if form == "peft":
        check_has_lora(arm)
    prepared = prepare(arm)
    origin = find_origin(prepared.lm)
    notes = tuple(_notes(prepared, form))
    with replacing_folder(target) as temporary:
        files: tuple[str, ...] = ()
        if prepared.block_size is not None:
            write_block_encoder(prepared, temporary)
        if form == "transformers":
            write_transformers(prepared, temporary)
        elif form == "peft":
            write_peft(prepared, origin, temporary)
        else:
            files = (write_gguf(prepared, origin, temporary).name,)
        write_text(temporary / "README.md", model_card(prepared, origin, form, files))
    num_bytes = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return Exported(folder=target, num_bytes=num_bytes, notes=notes)


def _notes(prepared: PreparedArm, form: Format) -> list[str]:
    """Say what decides the size of the export, or what it needs to be read."""
    size = f"{prepared.matrix.numel() * prepared.matrix.element_size() / 1e6:,.1f} MB"
    if prepared.block_size is not None:
        return [
            f"the model reads blocks of {prepared.block_size} tokens through {READER_FILE}; README.md has the lines"
        ]
    if form == "peft":
        return [f"the rebuilt embedding matrix is {size} of it"] if prepared.is_rebuilt else []
    if prepared.untied_bytes:
        return [
            f"the output head is the original embedding matrix, which the rebuilt one is not, so the file holds both: "
            f"{size} more than the model"
        ]
    if prepared.head_is_tied:
        return ["the embeddings are the model's own, so the output head stays tied to them"]
    return []
