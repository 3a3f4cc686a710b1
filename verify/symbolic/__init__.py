"""SymPy's side: expressions of the graph, closed forms, and derivatives by stages; no other method looks in here."""
