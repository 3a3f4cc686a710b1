"""Beside the verdicts: the bench, and the table of which method supports which op."""
