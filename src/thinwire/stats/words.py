"""Name the units of a comparison in its texts: questions about paragraphs, or items of any other kind in clusters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the texts of a comparison call its units; nouns are singular and take an s."""

    item: str = "question"
    """What has a score."""
    cluster: str = "paragraph"
    """What is resampled; the same as ``item`` where every item is drawn by itself."""
    within: str = "about"
    """Between a number of items and a number of clusters."""
    points: str = "F1 points"
    """Hundredths of the score's range."""
    arms: str = "arms"
    """What the simultaneous intervals are over; empty where there is only one."""
    more_seeds: str = "train more seeds"
    """Advice; empty where runs have no seeds."""

    def counted(self, num_items: int, num_clusters: int) -> str:
        """Write ``1,000 questions about 200 paragraphs``, or the items alone where they are the clusters."""
        items = count(num_items, self.item)
        return items if self.cluster == self.item else f"{items} {self.within} {count(num_clusters, self.cluster)}"

    @property
    def more(self) -> str:
        """What to evaluate where there are too few clusters: ``questions about more paragraphs``, or ``more items``."""
        return f"more {self.item}s" if self.cluster == self.item else f"{self.item}s {self.within} more {self.cluster}s"


def count(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 item``, ``1,000 items``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


QUESTIONS = Words()
