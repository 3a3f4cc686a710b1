"""The oracle: judges a gradient that somebody brings, says what is wrong with it, and shows the simplest point."""
