"""A comparison of an arm with its baseline, made by hand."""

from typing import Any

from thinwire.stats.bootstrap import ArmComparison


def arm_comparison(difference: float, standard_error: float, critical: float, **changes: Any) -> ArmComparison:
    """Of one run each, at 1,000 questions about 200 paragraphs; all in fractions."""
    found: dict[str, Any] = {
        "outcome": "compared",
        "reason": None,
        "covers": "questions",
        "num_questions": 1000,
        "num_paragraphs": 200,
        "num_runs": 1,
        "num_baseline_runs": 1,
        "mean": 0.24 + difference,
        "baseline_mean": 0.24,
        "difference": difference,
        "question_variance": standard_error**2,
        "seed_variance": 0.0,
        "standard_error": standard_error,
        "critical": critical,
    }
    return ArmComparison(**found | changes)
