"""Pure text-to-text extractors applied to a raw answer before it is scored."""


def first_line(text: str) -> str:
    """The first line that holds anything but white space, stripped; empty if there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
