"""Backward passes with a single fault: what a wrong gradient is matched against, and what a check has to catch."""
