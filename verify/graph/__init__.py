"""A program of ops as data, and running it on any number system: arrays, balls, series, symbols, tensors."""
