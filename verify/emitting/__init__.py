"""Cases as plain NumPy: the forward and backward pass as one writes them by hand."""
