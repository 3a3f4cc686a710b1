"""Renderers of a run: one file is one format and one line of ``formats``, and each imports :mod:`verify.records` and
knows nothing of how a number was made. ``format``, ``cause`` and ``select`` hold what several of them share.
"""
