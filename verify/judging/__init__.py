"""From answers to verdicts: the screen, the close look, proofs, kinks, and who is wrong."""
