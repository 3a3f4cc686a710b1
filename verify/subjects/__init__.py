"""Other people's gradients: how they are called, what they promise, their lines and constants."""
