"""Other people's gradients: how they are called, and how they are judged."""
