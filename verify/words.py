"""The words of the reports: verdicts, the rules that decide, why something is not proved, what a finding is about.

Each is written here once, with what it means, an example and what to do; ``verify explain`` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Self


class Explained(StrEnum):
    """Words of the reports, each with what it means, an example, and what to do: ``verify explain`` prints them.

    >>> Verdict.PASS.meaning
    'The answers agree with the truth, or with each other, to within what rounding may cost.'
    """

    _value_: str
    meaning: str
    example: str
    remedy: str

    def __new__(cls, value: str, meaning: str = "", example: str = "", remedy: str = "") -> Self:
        """A word with its texts."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning, member.example, member.remedy = meaning, example, remedy
        return member

    def __repr__(self) -> str:
        """The word as text has it, which it is."""
        return repr(self.value)


class Verdict(Explained):
    """What one row came to.

    >>> Verdict.PASS.value
    'PASS'
    """

    PASS = (
        "PASS",
        "The answers agree with the truth, or with each other, to within what rounding may cost.",
        "dx is 6.000000000000001, the truth 6, and 1.8e-14 is allowed.",
        "Nothing. 'proved' and 'power' say how much the check could have told.",
    )
    SUBGRADIENT = (
        "SUBGRADIENT",
        "The point is a kink, and the whole gradient is in the set of subgradients there.",
        "relu at x = 0 with gradient 0, 1 or anything between.",
        "Nothing. A convention of your own can be named under 'ties:' in the case.",
    )
    CONVENTION = (
        "CONVENTION",
        "At a kink each entry lies between its one-sided slopes, but the vector as a whole is no subgradient.",
        "max(x, y) at x = y with gradient 1 by both: each is possible, both together are not.",
        "Share the gradient among what is tied, or say under 'ties:' that this is meant.",
    )
    IMPRECISE = (
        "IMPRECISE",
        "The error is larger than rounding has to cost, and rounding is shown to be the cause.",
        "y * (1 - y) of a saturated sigmoid: the formula is right, its digits are gone.",
        "Where it fails, write the formula so that nothing cancels, such as s(x) * s(-x).",
    )
    FAIL = (
        "FAIL",
        "The answer is not the gradient, and rounding is not the cause.",
        "dx is 3 and the truth 6: a factor 2 is missing.",
        "Read the diagnosis and look at the place; 'repeat' runs just this again.",
    )
    DISPUTED = (
        "DISPUTED",
        "Two certified references exclude each other: a row of this program's op table is wrong, not you.",
        "SymPy's formula gives 2 and the Taylor series 3 for the same derivative.",
        "Report the case with its file: the fault is this program's.",
    )
    UNDECIDED = (
        "UNDECIDED",
        "Nothing was shown, and the reason says why.",
        "The function is not defined at the point, floats overflow on the way, or the estimate is too wide.",
        "Choose other points or a domain in which the function has values; more --proof-work where that ran out.",
    )


class NoVerdict(Explained):
    """What stands in place of a verdict.

    >>> NoVerdict.ERROR.value
    'ERROR'
    """

    ERROR = (
        "ERROR",
        "The case could not be run at all.",
        "A name in a formula is misspelt, or a limit of time or memory was reached.",
        "The message has file, line and remedy.",
    )


class Rule(Explained):
    """The rule by which a row was decided; :mod:`verify.judging.rules` has them in order.

    >>> Rule.PROVED.value
    'proved'
    """

    AGREED = "", "Nothing stands against it: the answers differ by no more than is always granted."
    NO_NUMBER = (
        "no number",
        "The answer is no number where the function's values show a slope.",
        "A gradient of NaN, from 0 * inf in the backward pass, where the function is smooth.",
        "Mend the backward pass where the NaN arises.",
    )
    BROKEN_OP = (
        "broken op",
        "An op gave no finite value where mpmath has one.",
        "",
        "Report the case: the fault is this program's.",
    )
    RANGE = (
        "range",
        "An answer is not finite, or has no bound, because floats leave their range on the way.",
        "exp(800) on the way to exp(800) / exp(801).",
        "Write the function so that nothing overflows, or choose a smaller domain.",
    )
    FIGURE = (
        "figure",
        "The case file's own figure is another.",
        "'expect' says 1.5932, and 1.59223 is found.",
        "Mend the figure under 'expect', or the expressions: the methods agree among each other.",
    )
    LEFT = "left", "Nothing can be said here, or too much is looked at already."
    NO_TIME = (
        "no time",
        "It is apart from the engine, and the work for proofs is used up.",
        "",
        "Give more work by --proof-work, or fewer points.",
    )
    KINK = "kink", "It was held against the subgradients of a kink.", "relu at 0.", "See SUBGRADIENT and CONVENTION."
    DISPUTED = "disputed", "The two certified derivatives exclude each other.", "", "See DISPUTED."
    UNBOUNDED = "unbounded", "Rounding on the way has no bound: it was held against the truth alone."
    UNDEFINED = (
        "undefined",
        "The floats have no value on the way.",
        "log(x - 1) at x = 1.",
        "Choose a point or a domain in which the function has values.",
    )
    UNKNOWN = (
        "unknown",
        "The truth could not be enclosed closely enough.",
        "",
        "Give more precision by --proof-bits, or more work by --proof-work.",
    )
    UNDERFLOW = "underflow", "Floats become zero on the way where the truth does not.", "exp(-800)."
    DIGITS = (
        "digits",
        "It is within what rounding allows, but the case asks for every digit.",
        "A case with 'accuracy: relative'.",
        "Write the formula so that nothing cancels, or leave 'accuracy:' out.",
    )
    PROVED = "proved", "It was held against the certified reference."
    PLAIN = "plain", "It is off from the engine by far, as many rows that are proved to be wrong."
    ALONG = "along", "The gradient as a whole was held against the reference along directions."
    COMPARED = "compared", "The methods were held against each other."
    MEASURED = "measured", "It was held against central differences and other methods: too large to be proved."
    STEP_LAW = "step law", "It was held against the values of a black box, over many steps."
    WEAK = (
        "weak",
        "No proved row of the variable could have told a wrong factor.",
        "A gradient of 1e-20 in a sum whose rounding is 1e-16.",
        "Choose points at which the gradient is not lost in rounding.",
    )


class Unproved(Explained):
    """Why a row is not proved that was to be; each is said after "not proved:".

    >>> Unproved.WORK.value
    'the proof work ran out'
    """

    WORK = "the proof work ran out", "A proof took more ball operations than it may.", "", "Give more by --proof-work."
    WIDE = (
        "the enclosure stayed too wide",
        "The enclosure of the truth is wider than what is allowed, at the highest precision.",
        "",
        "Give more precision by --proof-bits.",
    )
    TOO_LARGE = (
        "too many numbers to be run in balls",
        "The case has too many numbers to be run in balls.",
        "A matrix product with 100,000 entries.",
        "Give the case 'dims:': its small sizes are proved.",
    )
    BLACK_BOX = (
        "no expression is known",
        "The function cannot be traced, so that it was measured and nothing proved.",
        "A solver, or a kernel in C.",
        "Write it in NumPy, or take the measurement for what it is.",
    )


class FindingKind(Explained):
    """What a finding is about.

    >>> FindingKind.NOT_LINEAR.value
    'not linear'
    """

    INPUT_MUTATED = (
        "input mutated",
        "The gradient writes into an input that it was given.",
        "x *= upstream",
        "Write into a copy, or make a new array: x * upstream.",
    )
    UPSTREAM_MUTATED = (
        "upstream mutated",
        "The gradient writes into the upstream gradient that it was given.",
        "upstream[x < 0] = 0; return upstream",
        "Write into a copy: np.where(x < 0, 0, upstream).",
    )
    ALIASED_INPUT = (
        "output aliases an input",
        "An answer shares its memory with an input: who adds to it later changes the input.",
        "return upstream, for the gradient of a sum with x",
        "Return a copy.",
    )
    WRONG_SHAPE = (
        "wrong shape",
        "A gradient has another shape than its variable.",
        "db of shape (4, 3) for b of shape (3,): a sum over the batch is missing.",
        "Sum over what was broadcast, or reshape.",
    )
    WRONG_DTYPE = (
        "wrong dtype",
        "A gradient has another dtype than its function computes in; it fails where digits are lost so.",
        "A float32 gradient of a float64 input.",
        "Compute in the input's dtype, or convert at the end.",
    )
    WRONG_TYPE = (
        "wrong type",
        "An answer is nothing that a gradient can be.",
        "A string, or None for an input that is differentiated.",
        "Return an array, a tuple of arrays in the order of the inputs, or a mapping by name.",
    )
    AMBIGUOUS_ANSWER = (
        "ambiguous answer",
        "The gradient answers twice for one variable.",
        "A mapping with both 'x' and 'dx'.",
        "Return the one that is its gradient, and no other.",
    )
    NOT_LINEAR = (
        "not linear",
        "The answer is not linear in the upstream gradient.",
        "The upstream gradient is squared, clipped, or left out.",
        "Multiply by the upstream gradient once, and by nothing else that depends on it.",
    )
    NOT_SYMMETRIC = (
        "not symmetric",
        "The two halves of a Hessian differ.",
        "H[0, 1] is 2 and H[1, 0] is 3.",
        "Compute each mixed derivative once, or by the same formula.",
    )
    NOT_ADJOINT = (
        "not adjoint",
        "J v and J' u of one function are not those of one J: <u, J v> is not <J' u, v>.",
        "A forward mode that lacks a term which the backward pass has.",
        "The rows that fail say which of the two is wrong.",
    )
    WRONG_PATTERN = (
        "wrong pattern",
        "A sparse matrix has no entry where the truth is not 0.",
        "A band of three diagonals for a function with five.",
        "Store the entry that is named.",
    )
    NOT_DETERMINISTIC = (
        "not deterministic",
        "The same call gives another answer the second time.",
        "A random mask that is drawn anew, or a state that is kept between calls.",
        "Draw in the forward pass and hand it on, or pass a seed.",
    )
    NOT_FINITE = (
        "not finite",
        "An answer is NaN or infinite where the truth is finite.",
        "0 * inf, or a division by a norm that is zero.",
        "Mend it where the NaN arises; np.where does not protect the branch that is not taken.",
    )
    EXCEPTION = (
        "exception",
        "The gradient raises an exception at a point of the domain.",
        "IndexError in a helper.",
        "The traceback has your line.",
    )
    FAILED_BEFORE = (
        "failed before",
        "It fails at a point at which it failed in an earlier run.",
        "",
        "Mend it; --forget looks at no kept points.",
    )
    GLOBAL_STATE = (
        "global state",
        "The gradient changes state of the process that others rely on.",
        "np.seterr, the seed of np.random, a default dtype.",
        "Use a context manager such as np.errstate, or a generator of its own.",
    )
    FUNCTION_WRITES = (
        "function writes",
        "The function writes into its own arguments.",
        "x -= x.max()",
        "Write into a copy: x = x - x.max().",
    )
    FUNCTION_CHANGED = (
        "function changed",
        "The function has other values when it is called again with the same arguments.",
        "Noise that is drawn anew, or a running mean.",
        "Fix its seed, and let each call work on a copy of what it keeps.",
    )
    CACHE_CHANGED = (
        "cache changed",
        "The backward pass answers otherwise when it is called again with the same cache.",
        "It multiplies a cached array in place.",
        "Write into a copy of what is cached.",
    )
    FUNCTIONS_DIFFER = (
        "functions differ",
        "The gradient's own forward is another function than the reference.",
        "A forward with another default of eps.",
        "Give both the same function.",
    )
    NO_SUBGRADIENT = (
        "no subgradient",
        "Entries that are tied are possible one by one and not together.",
        "max(x, y) at x = y with gradient 1 by both.",
        "Share the gradient among what is tied.",
    )
    SHADOWED_CONSTANT = (
        "shadowed constant",
        "A name of the case that a formula would read as a number.",
        "An input that is called e.",
        "Rename it where a formula means the number.",
    )


VERDICTS: tuple[Verdict, ...] = tuple(Verdict)
"""The verdicts by code: ``Rows.verdict`` holds positions in this tuple."""


ERROR = NoVerdict.ERROR.value
"""What stands in place of a verdict where a case could not be run."""


SEVERITY: tuple[Verdict, ...] = (
    Verdict.PASS,
    Verdict.SUBGRADIENT,
    Verdict.CONVENTION,
    Verdict.UNDECIDED,
    Verdict.IMPRECISE,
    Verdict.DISPUTED,
    Verdict.FAIL,
)
"""From best to worst: a variable's verdict is the worst of its rows."""


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of several verdicts; ``UNDECIDED`` where there are none.

    >>> worst([Verdict.PASS, Verdict.FAIL, Verdict.SUBGRADIENT]).value
    'FAIL'
    """
    return max(verdicts, key=SEVERITY.index, default=Verdict.UNDECIDED)
