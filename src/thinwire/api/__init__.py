"""Thinwire from Python: load an experiment, run it, read its results, and use an arm as a language model.

from thinwire.api import CompressedLM, Run, fit_codec, load_experiment, run
"""

from thinwire.api.compressed_lm import CompressedLM
from thinwire.api.fitting import fit_codec
from thinwire.api.running import Run, load_experiment, run

__all__ = ["CompressedLM", "Run", "fit_codec", "load_experiment", "run"]
