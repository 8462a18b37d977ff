"""Report a sweep to an experiment tracker while it runs."""
