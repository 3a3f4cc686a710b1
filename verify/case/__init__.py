"""A case: a function written once. From YAML and formulas, through a whitelist, to a checked graph, and back."""
