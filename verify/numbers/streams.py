"""Random numbers of our own: whatever is drawn here has nothing in common with what users draw from the same seed.

``numpy.random.default_rng(0)`` is the commonest stream of all. An upstream gradient that is drawn from it is the very
array that a user's data come from, and then a product with one cannot be told from a product with the other.
"""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """The random numbers for a purpose: the same for a seed, independent of other purposes and of NumPy's own.

    >>> one, same, other = (stream(0, purpose).integers(2**31) for purpose in ("upstream", "upstream", "lines"))
    >>> bool(one == same), bool(one == other), bool(one == np.random.default_rng(0).integers(2**31))
    (True, False, False)
    """
    # The name comes first: SeedSequence pads with zeros, so [seed] and [seed, 0] would be the user's own stream.
    return np.random.default_rng([zlib.crc32(b"verify " + purpose.encode()), len(numbers), *numbers, seed])
