"""Made-up interactions with MovieLens' own statistics: a catalog, who rates how much, what in which
order, and when.

Everything here is a plain function on NumPy arrays and polars frames; `scripts/synthesize.py` lets
Ray call it.
"""
