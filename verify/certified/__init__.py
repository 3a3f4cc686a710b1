"""Truth that is enclosed: balls and Taylor series of balls through the graph, and the reference made of them."""
