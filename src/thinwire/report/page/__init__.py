"""The sections of the HTML page, in the order in which they are read; ``thinwire.report.html`` puts them together."""
