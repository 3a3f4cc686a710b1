"""Plain NumPy functions as cases: a function runs once on tracers, and what it did to them is the graph."""
