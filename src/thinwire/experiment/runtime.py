"""The loaded model and the resources of this process, shared by all its arms."""

from __future__ import annotations

from dataclasses import dataclass

from thinwire.config.experiment import Experiment
from thinwire.model.language_model import LanguageModel
from thinwire.progress import Display
from thinwire.schema import Auto
from thinwire.tracking.trackers import Trackers
from thinwire.training.autotune import uses_cuda_graphs


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What all arms that run in this process share."""

    lm: LanguageModel
    display: Display
    compile_layers: bool | Auto
    use_cuda_graphs: bool
    memory_share: float
    """Share of the free memory that this process may use; other worker processes use the rest."""
    trackers: Trackers | None = None
    """Told what each arm logs."""


def make_runtime(
    experiment: Experiment,
    lm: LanguageModel,
    display: Display,
    *,
    memory_share: float = 1.0,
    trackers: Trackers | None = None,
) -> Runtime:
    """Make the runtime that ``experiment`` requires.

    Raises:
        UsageError: CUDA graphs are required and cannot be used.
    """
    return Runtime(
        lm=lm,
        display=display,
        compile_layers=experiment.model.compile,
        use_cuda_graphs=uses_cuda_graphs(lm, experiment.model.cuda_graphs),
        memory_share=memory_share,
        trackers=trackers,
    )
