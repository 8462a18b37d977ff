"""What each figure shows, picked from the analysis.

Nothing is measured here: values are the analysis' own, sorted, grouped and (training curves) thinned out. A value
that is missing leaves its mark out; a figure without any mark is None.
"""
