"""Draw scores whose true means are known, with questions, paragraphs and arms correlated as in a real sweep.

Modelled on a sweep of SmolLM2-135M (11 arms, 500 questions of SQuAD's dev set): 56 % of F1 scores are 0, 21 % are 1,
the rest are distributed as observed; arm and baseline correlate by about 0.69, arm and arm by about 0.76, questions
about one paragraph by about 0.2 in score. Every score is the same quantile function of a latent normal variable, so
groups without effect have exactly the baseline's distribution, and an effect is the shift of the latent variable that
raises the mean by exactly that amount.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

BASELINE_LOADING, ARM_LOADING = 0.88, 0.93
"""Weight in each latent variable of the question's difficulty, which is the same for all groups."""
DIFFICULTY_BY_PARAGRAPH, REST_BY_PARAGRAPH = 0.3, 0.1
"""Shares of variance common to the questions of a paragraph; the second is each group's own."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """A distribution of scores."""

    zeros: float
    ones: float
    between: tuple[float, ...]
    """Scores that are neither 0 nor 1, all as likely."""

    def of(self, latent: np.ndarray) -> np.ndarray:
        """Return the score at each latent value."""
        return self._steps[np.searchsorted(self._edges, latent)]

    def mean(self, shift: float = 0.0) -> float:
        """Return the expected score when the latent variable is shifted."""
        return float(np.diff(self._steps) @ (1 - ndtr(self._edges - shift)))

    def shift_for(self, effect: float) -> float:
        """Return the shift of the latent variable that raises the mean by ``effect`` (a fraction)."""
        return float(brentq(lambda shift: self.mean(shift) - self.mean() - effect, 0.0, 4.0)) if effect else 0.0

    @property
    def _steps(self) -> np.ndarray:
        return np.array([0.0, *self.between, 1.0])

    @property
    def _edges(self) -> np.ndarray:
        return ndtri(np.linspace(self.zeros, 1 - self.ones, len(self.between) + 1))


F1 = Scores(zeros=0.56, ones=0.206, between=(0.18, 0.29, 0.36, 0.44, 0.5, 0.5, 0.57, 2 / 3, 2 / 3, 0.85))


def draw_latent(
    rng: np.random.Generator, num_sweeps: int, paragraphs: np.ndarray, num_arms: int, num_baselines: int = 1
) -> np.ndarray:
    """Return ``[sweeps, questions, baselines + arms]`` standard normal values, the baselines' first.

    Args:
        paragraphs: ``[questions]``, the number of each question's paragraph.
    """

    def mixed(share: float, columns: int) -> np.ndarray:
        common = rng.standard_normal((num_sweeps, paragraphs[-1] + 1, columns))[:, paragraphs]
        own = rng.standard_normal((num_sweeps, len(paragraphs), columns))
        return math.sqrt(share) * common + math.sqrt(1 - share) * own

    loading = np.repeat([BASELINE_LOADING, ARM_LOADING], [num_baselines, num_arms])
    difficulty = mixed(DIFFICULTY_BY_PARAGRAPH, 1)
    return loading * difficulty + np.sqrt(1 - loading**2) * mixed(REST_BY_PARAGRAPH, len(loading))
