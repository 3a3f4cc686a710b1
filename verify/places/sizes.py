"""Other sizes of a case: small ones, all different, all equal, and with a 1 among equal ones.

A gradient that is right at 5 x 10 may be wrong at 1 x 10, where axes broadcast unasked. One that is right for square
matrices may have swapped the sizes; and where two sizes are equal, a transpose that is missing or a sum over the wrong
axis passes every check of shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from verify.case.case import Case
from verify.errors import CaseError
from verify.places.points import generator

SMALL = 256
"""Numbers of a point that may always be; a case that grows beyond takes longer than it tells."""

LEAST = 2
"""The smallest size that is not 1."""

EQUAL = 3
"""The size of dims that are equal."""


def other_sizes(case: Case, seed: int, most: int) -> list[Case]:
    """The case at up to ``most`` other sizes; none where its sizes are fixed, or the function has no others.

    >>> from verify.case.case import load_case
    >>> from verify.case.files import shipped_cases
    >>> case = load_case(shipped_cases() / "notes" / "matmul.yaml")
    >>> [smaller.name for smaller in other_sizes(case, seed=0, most=2)]
    ['matmul [m=4, k=2, n=3]', 'matmul [m=1, k=3, n=3]']
    """
    if case.remake is None or not case.dims or most < 1:
        return []
    found: list[Case] = []
    for sizes in proposed(case.name, _least_sizes(case), seed):
        if dict(sizes) == dict(case.dims):
            continue
        try:
            other = case.with_dims(sizes)
        except CaseError:  # the function has no such size: an index, or two axes that must agree
            continue
        if other.entries <= max(2 * case.entries, SMALL):
            found.append(other)
        if len(found) == most:
            break
    return found


def proposed(case: str, least: Mapping[str, int], seed: int) -> Iterator[Mapping[str, int]]:
    """Sizes in the order in which they are tried, for dims that have at least these sizes, each once.

    All different; then each of them 1 while the others are equal, and among these all equal; all 1 at last. So any two
    dims are equal at one of them, whether the third is 1 or not.

    >>> list(proposed("matmul", {"m": 1, "k": 1}, seed=0))
    [{'m': 2, 'k': 3}, {'m': 1, 'k': 3}, {'m': 3, 'k': 3}, {'m': 3, 'k': 1}, {'m': 1, 'k': 1}]
    """
    rng = generator(seed, case, "sizes")
    names = list(least)
    drawn = rng.permutation(len(names)) + LEAST
    singles = [name for name in rng.permutation(names).tolist() if least[name] == 1]
    equal = dict.fromkeys(names, max(EQUAL, *least.values()))
    with_one = [{**equal, name: 1} for name in singles]
    listed = [
        {name: max(int(size), least[name]) for name, size in zip(names, drawn, strict=True)},
        *with_one[:1],
        equal,
        {name: max(EQUAL, size) for name, size in least.items()},  # where labels are many, not as many of everything
        *with_one[1:],
        dict(least),
    ]
    for number, sizes in enumerate(listed):
        if sizes not in listed[:number]:
            yield sizes


def _least_sizes(case: Case) -> dict[str, int]:
    """The least size of each dim: one that may count the classes of a label stays larger than every label."""
    labels = [item.domain.high for item in case.inputs if item.kind in {"label", "integer"}]
    highest = int(max(labels, default=0))
    return {name: highest + 1 if labels and size > highest else 1 for name, size in case.dims.items()}
