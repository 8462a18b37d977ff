"""The report's figures as inline SVG, one figure a file.

``data``, ``settings``, ``sizes`` and ``changes`` pick from the analysis what a figure shows; the files beside them draw
that as SVG for the page, and ``thinwire.report.plots`` draws the same data for papers. SVG here is written by hand
rather than by a plotting library: the marks take their colours from the page's style sheet (so that they follow light
and dark), the text stays text, and the page needs nothing installed.
"""
