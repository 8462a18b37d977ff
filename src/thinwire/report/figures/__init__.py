"""The report's figures, each drawn once as SVG: for the page, and as files for papers.

``data`` picks what a figure shows from the analysis, ``svg`` holds what all figures are drawn with, and each module
beside them defines one figure: its title, its caption and its drawing. ``files`` writes them as SVG, PNG and PDF.
"""
