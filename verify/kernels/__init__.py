"""Backward passes in low precision, judged by their noise: ``check_kernel``."""
