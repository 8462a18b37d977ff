"""Write an arm as an adapter folder of peft: LoRA factors, and the rebuilt embedding matrix as a saved module.

peft loads the matrix into a copy of the input embeddings (``modules_to_save``). A tied output head keeps the original
matrix, as it is another module, unless ``ensure_weight_tying`` is set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thinwire.checkpoints.load import FinishedArm
from thinwire.checkpoints.save import is_saved
from thinwire.errors import UsageError
from thinwire.export.origin import Origin
from thinwire.export.prepared import PreparedArm, generation_config
from thinwire.export.transformers_folder import write_tokenizer
from thinwire.files import write_json
from thinwire.model.lora_modules import depth_of, target_names
from thinwire.model.lora_peft import CONFIG_FILE, FACTORS_FILE, saved_config
from thinwire.model.quiet import quiet_transformers
from thinwire.results.tensor_file import write_tensors


def check_has_lora(arm: FinishedArm) -> None:
    """Refuse an arm that peft could not load.

    Raises:
        UsageError: it has no LoRA, and peft has no kind of adapter that is an embedding matrix alone.
    """
    if arm.config.lora.rank == 0 or not is_saved(arm.config):
        raise UsageError(
            f"{arm.folder} has no LoRA, and a peft adapter cannot be an embedding matrix alone; take "
            "--format transformers"
        )


def write_peft(prepared: PreparedArm, origin: Origin, folder: Path) -> None:
    """Write adapter, tokenizer and settings of generation into ``folder``."""
    parts, model = prepared.parts, prepared.lm.model
    assert parts.factors is not None, "check_has_lora"
    tensors = dict(parts.factors)
    config = saved_config(parts.lora, depth_of(model), target_names(model, parts.lora))
    if prepared.is_rebuilt:
        name = embeddings_name(model)
        tensors[f"base_model.model.{name}.weight"] = prepared.lm.embedding_weights(prepared.matrix)
        config["modules_to_save"] = [name]
    if origin.repository is not None and not origin.is_gguf:
        config |= {"base_model_name_or_path": origin.repository, "revision": origin.revision}
    write_json(folder / CONFIG_FILE, config)
    write_tensors(folder / FACTORS_FILE, tensors, {"format": "pt"})
    write_tokenizer(prepared.lm.tokenizer, folder)
    with quiet_transformers():
        generation_config(prepared).save_pretrained(folder)


def embeddings_name(model: Any) -> str:
    """Return the name of the module that holds the input embeddings: ``model.embed_tokens``."""
    embeddings = model.get_input_embeddings()
    return next(str(name) for name, module in model.named_modules() if module is embeddings)
