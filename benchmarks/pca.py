"""Compare two ways to fit PCA to a token stream: Thinwire's, from the embedding matrix and token counts, and
scikit-learn's, from the token matrix.

The embedding matrix is random, as large as a large model's and with a decaying spectrum; the counts are those of SQuAD
prompts under the default tokenizer. Each side runs in a process of its own, after a small fit that loads its libraries,
so its peak memory is its own: Thinwire's beyond the embedding matrix, scikit-learn's beyond the token matrix.

    python benchmarks/pca.py --prompts 1000 --output pca.json
    python benchmarks/pca.py --prompts 200 --dim 512 --code 128          # in half a minute
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA  # type: ignore[import-untyped]
from torch import Tensor

from thinwire.codecs.pca import PCACodec
from thinwire.codecs.settings import CodecConfig
from thinwire.config.settings import ModelConfig, PromptConfig
from thinwire.data.prompts import PromptEncoder
from thinwire.data.sources import load_questions
from thinwire.data.splits import draw_examples
from thinwire.files import write_json
from thinwire.model.loading import load
from thinwire.results.provenance import environment

BLOCK_ROWS = 8192
MATRICES = {"full": 4.2, "covariance_eigh": 1.2}
"""Peak memory of scikit-learn in token matrices, its input included, as measured plus a margin. A full SVD adds the
centred copy, LAPACK's own copy of that, and the left singular vectors."""
LAPACK_LIMIT = 2**31 - 1
"""Numbers in the largest matrix that a full SVD accepts: scipy's LAPACK counts them in 32 bits."""
GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class RandomEmbeddings:
    """A random embedding matrix: the variance of dimension j falls as 1 / j, and the mean is not 0."""

    rows: int
    width: int
    dtype: torch.dtype
    seed: int

    def blocks(self) -> Iterator[Tensor]:
        """Yield the matrix in blocks of rows."""
        generator = torch.Generator().manual_seed(self.seed)
        scale = torch.arange(1, self.width + 1).rsqrt()
        for start in range(0, self.rows, BLOCK_ROWS):
            rows = min(BLOCK_ROWS, self.rows - start)
            yield (torch.randn(rows, self.width, generator=generator) * scale + 0.05).to(self.dtype)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The result and cost of one side."""

    seconds: list[float]
    peak_bytes: int
    components: np.ndarray
    variances: np.ndarray
    """Population variances: divided by the number of tokens."""
    explained: float


def fit_thinwire(spec: RandomEmbeddings, counts: Tensor, code: int, device: torch.device, repeats: int) -> Fit:
    """Fit with ``PCACodec.fit``; the peak is the memory beyond the embedding matrix, on its device."""
    embeddings = torch.empty(spec.rows, spec.width, dtype=spec.dtype, device=device)
    for rows, block in zip(embeddings.split(BLOCK_ROWS), spec.blocks(), strict=True):
        rows.copy_(block)
    PCACodec.fit(embeddings[:64, :32], torch.ones(64), CodecConfig(compress_dim=4), 0)

    def fit() -> PCACodec:
        codec = PCACodec.fit(embeddings, counts, CodecConfig(compress_dim=code), 0)
        codec.total_variance.item()  # waits for a CUDA device
        return codec

    codec, seconds, peak = timed(fit, repeats, device)
    return Fit(
        seconds=seconds,
        peak_bytes=peak,
        components=codec.components.cpu().double().numpy(),
        variances=codec.variances.cpu().numpy(),
        explained=codec.metrics()[0].value,
    )


def fit_sklearn(spec: RandomEmbeddings, ids: np.ndarray, code: int, solver: str, repeats: int) -> Fit:
    """Fit scikit-learn's PCA to the float32 token matrix; the peak is the memory beyond that matrix."""
    tokens = np.empty((len(ids), spec.width), dtype=np.float32)
    for number, block in enumerate(spec.blocks()):
        here = ids // BLOCK_ROWS == number
        tokens[here] = block.float().numpy()[ids[here] - number * BLOCK_ROWS]
    PCA(n_components=4, svd_solver=solver).fit(tokens[:64, :32])

    def fit() -> PCA:
        return PCA(n_components=code, svd_solver=solver).fit(tokens)

    pca, seconds, peak = timed(fit, repeats, torch.device("cpu"))
    return Fit(
        seconds=seconds,
        peak_bytes=peak,
        components=pca.components_.astype(np.float64),
        variances=pca.explained_variance_.astype(np.float64) * (len(ids) - 1) / len(ids),
        explained=float(pca.explained_variance_ratio_.sum()),
    )


def timed(fit: Callable[[], Any], repeats: int, device: torch.device) -> tuple[Any, list[float], int]:
    """Repeat a fit; return the last result, the seconds of each, and the peak bytes beyond those held before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    else:
        with contextlib.suppress(OSError):  # without it, an earlier peak can only make ours look larger
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        before = memory("VmRSS")
    seconds: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = fit()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else memory("VmHWM")
    return found, seconds, peak - before


def memory(field: str, file: str = "/proc/self/status") -> int:
    """Read a memory field of Linux in bytes, by default of this process."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))


def prompt_tokens(num_prompts: int) -> np.ndarray:
    """Return the token ids of SQuAD prompts for the default model, concatenated."""
    tokenizer = load(ModelConfig(name="smollm2-135m", device="cpu")).tokenizer
    encoder = PromptEncoder(tokenizer, PromptConfig())
    examples = draw_examples(load_questions("squad", "train"), num_prompts, 0, "train")
    return np.concatenate([encoder.encode(example).prompt_ids for example in examples])


def compare(ours: Fit, theirs: Fit) -> dict[str, float]:
    """Measure how far two fits differ; subspaces are compared by their projectors, which ignore the axes' signs."""
    projectors = ours.components.T @ ours.components - theirs.components.T @ theirs.components
    return {
        "explained_variance": abs(ours.explained - theirs.explained),
        "largest_relative_variance": float((np.abs(ours.variances / theirs.variances - 1)).max()),
        "projector_frobenius": float(np.linalg.norm(projectors)),
    }


def alone(function: Callable[..., Fit], *arguments: object) -> Fit:
    """Call a function in a new process."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=4096, help="width of the embedding matrix")
    parser.add_argument("--code", type=int, help="axes kept [a quarter of the width]")
    parser.add_argument("--rows", type=int, default=128_256, help="of the embedding matrix")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the embedding matrix")
    parser.add_argument("--solver", choices=sorted(MATRICES), default="full", help="scikit-learn's")
    parser.add_argument("--device", default="cpu", help="Thinwire's; scikit-learn runs on the CPU")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--memory", type=float, help="GiB that may be taken [what is free]")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    args = parser.parse_args()
    spec = RandomEmbeddings(rows=args.rows, width=args.dim, dtype=getattr(torch, args.dtype), seed=0)
    code = args.code or args.dim // 4
    ids = prompt_tokens(args.prompts)
    matrix = 4 * len(ids) * args.dim
    needed = int(MATRICES[args.solver] * matrix)
    free = int(args.memory * GIB) if args.memory else memory("MemAvailable", "/proc/meminfo")
    print(f"{args.prompts:,} prompts, {len(ids):,} tokens, {len(np.unique(ids)):,} of them different")
    print(f"token matrix {gib(matrix)}; scikit-learn takes about {gib(needed)}, there are {gib(free)}", flush=True)
    if needed > free:
        parser.error(f"that does not fit: give --prompts {int(0.98 * args.prompts * free / needed)} or fewer")
    if args.solver == "full" and matrix // 4 > LAPACK_LIMIT:
        parser.error(f"LAPACK takes no matrix of more than {LAPACK_LIMIT:,} numbers: give fewer --prompts")

    counts = torch.from_numpy(np.bincount(ids, minlength=args.rows))
    ours = alone(fit_thinwire, spec, counts, code, torch.device(args.device), args.repeats)
    theirs = alone(fit_sklearn, spec, ids, code, args.solver, args.repeats)
    ratio, differences = median(theirs.seconds) / median(ours.seconds), compare(ours, theirs)
    for name, fit in (("thinwire", ours), ("scikit-learn", theirs)):
        print(f"{name:12} {median(fit.seconds):9.3f} s  {gib(fit.peak_bytes)} more  explains {fit.explained:.6f}")
    print(f"{ratio:.1f} times as fast; differences: {', '.join(f'{k} {v:.2g}' for k, v in differences.items())}")
    if args.output:
        sides = {
            name: {"seconds": fit.seconds, "peak_bytes": fit.peak_bytes, "explained_variance": fit.explained}
            for name, fit in (("thinwire", ours), ("scikit_learn", theirs))
        }
        settings = {name: value for name, value in vars(args).items() if name != "output"} | {"code": code}
        result = {"settings": settings, "tokens": len(ids), "token_matrix_bytes": matrix, **sides}
        result |= {"ratio": ratio, "differences": differences}
        result |= {
            "scikit_learn_version": version("scikit-learn"),
            "environment": environment(torch.device(args.device)).model_dump(mode="json"),
        }
        write_json(args.output, result)


def gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.2f} GiB"


if __name__ == "__main__":
    main()
