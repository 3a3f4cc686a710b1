"""Renderers of a run: one file is one format, and each imports :mod:`verify.records` and knows nothing of how a
number was made. ``format`` and ``select`` hold what several of them share, ``atomic`` is how they write.
"""
