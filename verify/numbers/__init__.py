"""Number systems: floats with a radius, balls and series of balls, and bounds for matrices of them."""
