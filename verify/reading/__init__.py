"""From text to a case: YAML with places, formulas through a whitelist, a format that is checked, a graph."""
