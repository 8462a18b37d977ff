"""Ask for sums in Inspect with two scorers; the model is one of make_models.py, by Inspect's own provider `hf`.

    python sums_task.py FOLDER MODEL FORMAT EPOCHS LIMIT

FOLDER holds sums.json and the model's folder; the log goes to FOLDER/logs.
"""

import json
import sys
from pathlib import Path

import inspect_ai
from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.scorer import includes, match
from inspect_ai.solver import generate

folder, name, log_format = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
epochs, limit = map(int, sys.argv[4:])
sums = json.loads((folder / "sums.json").read_text())
asked = [one for start in range(4) for one in sums[start::4]]  # the first of each cluster, then the second ...
samples = [
    Sample(input=f"{one['a']} + {one['b']} =", target=str(one["a"] + one["b"]), metadata={"first": one["a"]})
    for one in asked
]
model = get_model(
    f"hf/{name}",
    model_path=name,
    device="cpu",
    chat_template="{% for message in messages %}{{ message['content'] }}{% endfor %}",
    config=GenerateConfig(max_tokens=4, temperature=1.0, seed=1),
)
inspect_ai.eval(
    Task(dataset=samples, solver=generate(), scorer=[match(), includes()], name="sums", epochs=epochs),
    model=model,
    log_dir=str(folder / "logs"),
    log_format=log_format,
    limit=limit,
    display="plain",
)
