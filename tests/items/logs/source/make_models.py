"""Train a tiny Llama on sums of two digits, saved after 100, 250 and 900 steps, and write the sums to be asked.

python make_models.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch

from tiny_models import EOS_ID, tiny_llama, tiny_tokenizer

SAVED = {"steps100": 100, "steps250": 250, "steps900": 900}


def sums():
    """Return 32 sums, four of each first number from 1 to 8, with two wrong answers each."""
    pairs = [(first, (first + 3 * k) % 10) for first in range(1, 9) for k in range(4)]
    return [{"a": a, "b": b, "choices": [str(a + b), str(a + b + 2), str(a + b - 1)]} for a, b in pairs]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    asked = sums()
    (folder / "sums.json").write_text(json.dumps(asked))
    (folder / "few_sums.json").write_text(json.dumps(asked[::4]))
    tokenizer = tiny_tokenizer(chat=False)
    texts = [f"{a} + {b} = {a + b}" for a in range(10) for b in range(10)]
    rows = [[*tokenizer(text)["input_ids"], EOS_ID] for text in texts]
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    labels = torch.tensor([[-100] * 7 + row[7:] + [-100] * (longest - len(row)) for row in rows])
    model = tiny_llama().requires_grad_(True).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    torch.manual_seed(0)
    for step in range(1, max(SAVED.values()) + 1):
        chosen = torch.randint(len(rows), (16,))
        loss = model(input_ids=ids[chosen], labels=labels[chosen]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for name, after in SAVED.items():
            if step == after:
                model.save_pretrained(folder / name)
                tokenizer.save_pretrained(folder / name)


main(Path(sys.argv[1]))
