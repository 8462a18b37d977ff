"""Records of a sweep whose arms read blocks of tokens, made by hand: contexts of 300 tokens in prompts of 340."""

from sweep_folder import record
from thinwire.results.arm_record import ArmRecord, ModelShape, PromptSizes, TrainableParameters

SHAPE = ModelShape(layer_weights=1000, num_layers=2, num_heads=3, num_key_heads=1, head_width=4, bytes_per_number=2)
LORA = {"rank": 16, "alpha": 32, "layers": "all"}
ANSWERS = {
    "k2": "RHWWRHWWRHWWRHWW",  # F1 6 / 16
    "k2_lora": "RRRWRRRWRRRWRHHW",  # 11 / 16
    "k4": "WHWWRHWWWHWWRHWW",  # 4 / 16
    "k4_lora": "RHRWRRWWRHRWRHHW",  # 9 / 16 and a half
    "k1": "RHHWRHHWRHHWRHHW",  # 8 / 16
    "k1_lora": "RRRRRRRRRRRRRRHW",  # 14.5 / 16
    "text_lora": "RRRRRRRRRRRRRRRH",
    "text_zero_shot": "RRRRHHHHWWWWRRRR",
}
SECONDS = {"k2": 2.0, "k2_lora": 2.0, "k4": 1.0, "k4_lora": 1.0}
INTERACTIONS = {
    name: {"arm": f"{name}_lora", "baseline": name, "reference_arm": "k1_lora", "reference_baseline": "k1"}
    for name in ("k2", "k4")
}


def block_record(name: str, **changes) -> ArmRecord:
    """An arm or control of ``ANSWERS``; ``changes`` are of its results."""
    size = int(name[1]) if name[0] == "k" else None
    own = {"input": "text"} if size is None else {"input": "blocks", "blocks": {"size": size}}
    with_lora = {"lora": LORA} if name.endswith("_lora") else {}
    like = "baseline" if size else "text_zero_shot"
    one = record(name, arm=like, answers=ANSWERS[name], selection=0.5, config={**own, **with_lora})
    positions = 340.0 if size is None else 40 + 300 / size
    sizes = PromptSizes(
        tokens=340, positions=positions, squared_positions=positions**2, encoder_flops=0 if size is None else 6e6 / size
    )
    results = {
        "codec": None,
        "reconstruction": None,
        "reconstruction_at_start": None,
        "trainable_parameters": TrainableParameters(adapter=1000 if size else 0, lora=4000 if with_lora else 0),
        "seconds_test": SECONDS.get(name, 4.0),
        "seconds_embeddings": 0.5 if size else 0.0,
        "prompts": sizes,
        "model_shape": SHAPE,
        **changes,
    }
    kind = "arm" if size and size > 1 else "control"
    done = one.done.model_copy(update=results)
    return one.model_copy(update={"name": name, "arm": name, "kind": kind, "results": done})


def block_records(*names: str) -> list[ArmRecord]:
    return [block_record(name) for name in names or ANSWERS]
