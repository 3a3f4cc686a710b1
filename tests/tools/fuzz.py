"""A search for input that is not refused as it should be: random formulas, mutated case files, small whole runs.

    python tests/tools/fuzz.py --count 10000 --seed 0
    python tests/tools/fuzz.py --what texts --count 20000 --seed 7

Whatever is given ends in a case or in a CaseError whose message is short, within a second of processor time and 300 MB,
and nothing is executed: while a text is read, an audit hook watches for code that is compiled, programs that are
started, and files that are opened for writing. A whole run ends in a verdict. What breaks this is printed with the
input that does, and the command ends with 1.
"""

# ruff: noqa: T201, E501 (a command prints; the tables are read as tables)

from __future__ import annotations

import argparse
import contextlib
import random
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from verify.case.case import load_case, load_case_text
from verify.case.expression import graph_from_expressions
from verify.case.files import find_case_files, shipped_cases
from verify.errors import CaseError
from verify.ops import OPS
from verify.ops.parameters import PARAMETERS
from verify.records import CaseResult
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.words import VERDICTS, Verdict

LONGEST_MESSAGE = 10_000
"""Characters of a message."""
MOST_MEMORY = 300
"""MB that one input may take beyond what was taken before."""
WATCHED = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "shutil.rmtree")
"""Events of Python's audit that no text may cause."""

NUMBERS = (
    "0", "1", "-1", "2", "0.5", "-0.5", "3", "1e-3", "1e300", "-1e300", "1e308", "5e-324", "1e-400", "1e400", "0e400",
    "9" * 20, "9" * 400, "-" + "9" * 400, "1e-99999999999999999999", "1e99999999999999999999", "0x" + "f" * 300, "2**63",
    "9223372036854775807", "-9223372036854775808", "0o7", ".inf", "-.inf", ".nan", "007", "1_0", "1e", "1.7976931348623157e308",
    "3.4e38", "1e39", "1e-50", "0.1", "10000000", "100000000000", "0e-400", "0e99999999999999999999",
)  # fmt: skip
VALUES = (
    *NUMBERS[:24], "None", "True", "False", "(0,)", "(1, 2)", "()", "((1, 2), (0, 1))", "((((1,),),),)", "(None, 1)",
    "'ij'", "...", "[0, 1]", "[]", "x", "m", "(True, False)", "-x", "1j", "(1, (2, 3))", "(0, 0)", "2**70", "m*m",
)  # fmt: skip
"""What a static parameter is tried with."""
MOVES = (
    "reshape({a}, shape=-1)", "expand_dims({a}, axis=0)", "stack([{a}, {a}])", "stack([x, {a}, y], axis=-1)",
    "concatenate([W, ravel({a})])", "pad({a}, pad_width=1)", "pad(ravel({a}), pad_width=(0, 2))", "flip({a})",
    "roll(ravel({a}), shift=1)", "broadcast_to({a}, shape=(3, 2))", "sum({a}, axis=0)", "ravel({a})[[0, 0]]",
    "mean({a}, axis=-1, keepdims=True)", "var(W * {a}, ddof=1)", "std(W * {a}, ddof=1)", "norm(W * {a})", "ravel({a})[0]",
    "amax(stack([{a}, {a}]), axis=0)", "cumsum(ravel({a}))", "softmax(ravel({a}), axis=0)", "logsumexp(W * {a})",
    "stack([W, W * {a}])[:, 1]", "outer(W, ravel({a}))", "dot(W, W * {a})", "W @ (W * {a})", "det(outer(W, W) + {a})",
    "({a})**2", "({a})**0.5", "({a})**-1", "({a})**x", "max({a}, W)", "amin(W * {a})", "inverse(diag(W) + {a})",
    'einsum("i,i->", W, W * {a})', "max_pool(reshape(W * {a}, shape=(1, 1, 2)), size=2)", "trace(outer(W, W) * {a})",
    "conv1d(reshape(W * {a}, shape=(1, 1, 2)), reshape(W, shape=(1, 1, 2)), padding=1)", "solve(diag(W) + {a}, W)",
)  # fmt: skip
"""Formulas with parameters, ``{a}`` being another formula."""
NAMES = ("x", "y", "W", "b", "m", "pi", "e", "s0", "s1", "unknown", "\u03bb", "_", "lambda", "None")
JUNK = (
    "(", ")", "[", "]", "{", "}", ",", ":", "*", "**", "@", "/", "//", "+", "-", "=", "==", "<", "'", '"', "#", "\\", "\n",
    "\t", "\0", "\x1b[31m", "\u202e", "\u200b", "\ud800", ".T", ".__class__", "__import__('os').system('touch canary')",
    " if ", " for x in y ", "lambda x: ", "f'{x}'", ":=", "*x", "**x", "yield ", "&a ", "*a", "!!python/object:os.system ",
    "- ", "? ", "| ", "> ", "%YAML 1.1\n", "---\n", "...\n", "<<: ", "\ufeff", "\x85", "\u2028",
)  # fmt: skip


class Dice(random.Random):
    """Random choices by name."""

    def number(self) -> str:
        """A number as text, most of them harmless."""
        return self.choice(NUMBERS) if self.random() < 0.3 else repr(round(self.uniform(-3, 3), 2))

    def formula(self, depth: int = 4) -> str:
        """A formula, mostly of what the grammar has."""
        kind = self.random()
        if depth == 0 or kind < 0.2:
            return self.choice(NAMES) if self.random() < 0.15 else self.choice(("x", "y", "W", "b", "m", self.number()))
        if kind < 0.45:
            sign = self.choice((" + ", " - ", " * ", " / ", " @ ", "**"))
            return f"({self.formula(depth - 1)}{sign}{self.formula(depth - 1)})"
        if kind < 0.5:
            return f"-{self.formula(depth - 1)}"
        if kind < 0.6:
            return f"{self.formula(depth - 1)}[{self.index()}]"
        if kind < 0.65:
            sides = [self.formula(depth - 1) for _ in range(4)]
            return f"where({sides[0]} {self.choice(('>', '>=', '<', '<=', '=='))} {sides[1]}, {sides[2]}, {sides[3]})"
        return self.call(depth)

    def call(self, depth: int) -> str:
        """A call of an op with operands and, often, static parameters of any kind."""
        row = OPS[self.choice(tuple(OPS))]
        name = row.spelling.split("(")[0] if "(" in row.spelling else row.name
        operands = [self.formula(depth - 1) for _ in range(self.choice((row.arity, row.arity, row.arity, 1, 3)))]
        if row.variadic == "list":
            operands = [f"[{', '.join(operands)}]"]
        if row.variadic == "text first":
            operands = [self.choice(('"ij,jk->ik"', '"i->"', '"ii"', '"a,b,c"', '"i...->"', "x")), *operands]
        shown = [key for key in row.params if key in (*row.required, *row.numbers) or self.random() < 0.4]
        if self.random() < 0.05:
            shown.append(self.choice(tuple(PARAMETERS)))
        given = [f"{key}={self.choice(('0', '1', '2', '(0, 1)', *VALUES))}" for key in shown]
        return f"{name}({', '.join([*operands, *given])})"

    def index(self) -> str:
        """What stands in square brackets."""
        parts = ("0", "1", "-1", ":", "1:", "::2", "::-1", "...", "None", "[0, 1]", "[0]", "[True, False]", "9" * 30, "m",
                 "x", "1.5", "::0", "-9:9", "[[0]]", "(0, 1)", *VALUES[:8])  # fmt: skip
        count = 70 if self.random() < 0.01 else self.choice((1, 1, 1, 2, 3))
        return ", ".join(self.choice(parts) for _ in range(count))

    def spoilt(self, text: str) -> str:
        """The text with a few changes: pieces dropped, doubled, replaced, or put in."""
        for _ in range(self.choice((0, 0, 1, 1, 2, 3, 8))):
            at, length = self.randrange(len(text) + 1), self.choice((0, 0, 1, 3, 12))
            piece = self.choice((self.choice(JUNK), self.number(), self.choice(NAMES), text[at : at + 20], ""))
            text = text[:at] + piece * (300 if self.random() < 0.01 else 1) + text[at + length :]
        values = list(re.finditer(r"(?<=: )[^,{}\[\]\n]+", text))
        if values and self.random() < 0.5:
            found = self.choice(values)
            text = text[: found.start()] + self.value() + text[found.end() :]
        numbers = list(re.finditer(r"(?<![\w.])[-+]?\d+(\.\d*)?(e[-+]?\d+)?(?![\w.])", text))
        if numbers and self.random() < 0.4:
            found = self.choice(numbers)
            text = text[: found.start()] + self.choice(NUMBERS) + text[found.end() :]
        return text

    def value(self, depth: int = 2) -> str:
        """Any value of YAML, in flow style."""
        kind = self.random()
        if depth and kind < 0.2:
            return f"[{', '.join(self.value(depth - 1) for _ in range(self.choice((0, 1, 2, 3))))}]"
        if depth and kind < 0.3:
            fields = ("at", "shape", "domain", "x", "value", "gradient", "note", "expect", "1")
            return f"{{{', '.join(f'{self.choice(fields)}: {self.value(depth - 1)}' for _ in range(2))}}}"
        texts = (
            "normal",
            "uniform",
            "null",
            "true",
            "'(0, 1]'",
            "'[1, 0]'",
            "x",
            "real",
            "label",
            "mask",
            "integer",
            '""',
        )
        return self.choice((self.number(), self.choice(texts), f"'{self.choice(NAMES)}'"))

    def case(self) -> str:
        """A case file with a field or two that are anything."""
        x = {"at": self.choice(("0.5", "normal", self.value())), "domain": self.choice(("[-6, 6]", "'(0, 10]'"))}
        for key in ("shape", "domain", "kind", "dtype", "at", "other"):
            if self.random() < 0.15:
                x[key] = self.choice(("[2, m]", "[10000000]", "float32", "integer", self.value()))
        fields = {
            "case": "a",
            "source": "s",
            "dims": "{m: 2}",
            "inputs": f"{{x: {{{', '.join(f'{key}: {value}' for key, value in x.items())}}}, y: {{at: 2}}}}",
            "stages": "{s0: x * y, f: sum(s0)}",
        }
        more = {"output": "f", "upstream": "{f: y}", "expect": f"{{value: {{f: {self.number()}}}}}",
                "points": f"[{{x: {self.number()}}}]", "ties": "{max: both}", "accuracy": "relative"}  # fmt: skip
        fields |= {key: value for key, value in more.items() if self.random() < 0.2}
        for key in [key for key in (*fields, *more, "x\x1b[2J") if self.random() < 0.06]:
            fields[key] = self.value(3)
        return "\n".join(f"{key}: {value}" for key, value in fields.items()) + "\n"

    def small_case(self) -> str:
        """A case that is small and mostly readable, at places where functions are hard."""
        at = ("0", "1", "-1", "0.5", "5e-324", "-5e-324", "1e-300", "1e300", "2", "1e-17")
        vector = f"[{self.choice(at)}, {self.choice(at)}]"
        stages = {f"s{i}": self.smooth(3, [f"s{j}" for j in range(i)]) for i in range(self.choice((1, 2, 3)))}
        lines = [
            "case: a",
            "inputs:",
            f"  x: {{at: {self.choice(at)}, domain: [-1e301, 1e301]}}",
            f"  y: {{at: {self.choice(at)}, domain: {self.choice(('[-2, 2]', '[0, 0.5]', '[-1e301, 1e301]'))}}}",
            f"  W: {{at: {vector}, domain: [-1e301, 1e301]}}",
            "stages:",
            *(f"  {stage}: '{text}'" for stage, text in stages.items()),
            "  f: '" + " + ".join(["sum(W)", "x", "y", *(f"sum({stage})" for stage in stages)]) + "'",
            f"points: [{{x: {self.choice(at)}, W: {self.choice(at)}}}]",
        ]
        return "\n".join(lines) + "\n"

    def smooth(self, depth: int, names: Sequence[str]) -> str:
        """A formula of ops entry by entry and reductions, that has a good chance to be read."""
        if depth == 0 or self.random() < 0.15:
            return self.choice(("x", "y", "W", "W[0]", "W[..., 1]", "x", "0.5", "2", *names))
        if self.random() < 0.3:
            sign = self.choice((" + ", " - ", " * ", " / ", " * "))
            return f"({self.smooth(depth - 1, names)}{sign}{self.smooth(depth - 1, names)})"
        if self.random() < 0.25:
            return self.choice(MOVES).replace("{a}", self.smooth(depth - 1, names))
        ops = [row for row in OPS.values() if not row.required and not row.variadic and row.spelling[0].isalpha()]
        row = self.choice(ops)
        name = "where" if row.spelling.startswith("where") else row.name
        operands = [self.smooth(depth - 1, names) for _ in range(row.arity)]
        if name == "where":
            return f"where({operands[0]} {self.choice(('>', '>='))} {operands[1]}, {operands[2]}, {operands[3]})"
        given = ["-1", "1"][: sum(value is None for value in row.numbers.values())]
        return f"{name}({', '.join([*operands, *given])})"


@dataclass
class Fuzz:
    """What has been tried and what was found."""

    most_seconds: float = 1.0
    tried: int = 0
    read: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)

    def refuse_or_read(self, text: str, read: Callable[[str], object]) -> None:
        """Holds one input against what is promised."""
        self.tried += 1
        before, start = _memory(), time.process_time()
        with watching() as seen:
            try:
                read(text)
                self.read += 1
                message = ""
            except CaseError as error:
                message = str(error)
            except Exception as error:  # noqa: BLE001 - whatever is raised is what is looked for
                self.faults.append(f"{type(error).__name__}: {error!s:.200}\n{text[:3000]!r}")
                return
        seconds, memory = time.process_time() - start, _memory() - before
        self.slowest = max(self.slowest, seconds)
        if seen:
            self.faults.append(f"it caused {seen[:3]}\n{text[:3000]!r}")
        if seconds > self.most_seconds or memory > MOST_MEMORY or len(message) > LONGEST_MESSAGE:
            shown = f"{seconds:.2f} s, {memory} MB, a message of {len(message)} characters"
            self.faults.append(f"{shown}\n{text[:3000]!r}")
        if not all(char.isprintable() or char == "\n" for char in message):
            self.faults.append(f"a message with {message!r:.200}\n{text[:3000]!r}")

    def run(self, text: str) -> None:
        """Runs a case that can be read: a verdict for each row, never an exception."""
        self.tried += 1
        try:
            case = load_case_text(text, "fuzz.yaml")
        except CaseError:
            return
        self.read += 1
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                result = run_loaded(case, Settings(points=2, sizes=0))
            self.faults += [f"{fault}\n{text}" for fault in _nan_that_passes(result)]
        except Exception as error:  # noqa: BLE001 - whatever is raised is what is looked for
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = "" if where is None else f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}"
            self.faults.append(f"{type(error).__name__}: {error!s:.200} in {place}\n{text}")
        self.slowest = max(self.slowest, time.process_time() - start)


def _nan_that_passes(result: CaseResult) -> Iterator[str]:
    """Rows that pass without a word although a method that can do the case gave no number.

    Central gives none where no step of it stays in the domain.
    """
    for variable in result.variables:
        rows = variable.rows
        passing = (rows.verdict == VERDICTS.index(Verdict.PASS)) & (rows.reason == 0)
        for method, values in rows.values.items():
            if method not in (*result.unsupported, "central") and np.any(np.isnan(values[passing])):
                yield f"{variable.quantity} of {variable.name}: PASS with NaN of {method}"


_seen: list[list[str]] = []


@contextlib.contextmanager
def watching() -> Iterator[list[str]]:
    """What happens meanwhile that no text may cause."""
    found: list[str] = []
    _seen.append(found)
    try:
        yield found
    finally:
        _seen.pop()


def _hook(event: str, args: tuple[object, ...]) -> None:
    if not _seen:
        return
    if event == "exec":  # a module that is imported late is run too, but has a file
        harmless = not getattr(args[0], "co_filename", "<").startswith("<")
    elif event == "open":
        harmless = not (isinstance(args[1], str) and any(sign in args[1] for sign in "wax+"))
    else:
        harmless = event not in WATCHED
    if not harmless:
        _seen[-1].append(f"{event} {args[0]!r:.80}")


def _memory() -> int:
    """The most that this process has taken, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def read_formula(text: str) -> object:
    """A formula on inputs of several shapes."""
    shapes = {"x": (), "y": (3,), "W": (2, 3), "b": (2, 1, 3)}
    return graph_from_expressions(shapes, {"f": text}, dims={"m": 2})


def formulas(fuzz: Fuzz, dice: Dice, count: int) -> None:
    """Random formulas, some of them spoilt."""
    for _ in range(count):
        text = dice.formula()
        fuzz.refuse_or_read(dice.spoilt(text) if dice.random() < 0.3 else text, read_formula)


def texts(fuzz: Fuzz, dice: Dice, count: int) -> None:
    """Case files: those that are shipped, spoilt, and others with anything in their fields."""
    known = [path.read_text(encoding="utf-8") for path in find_case_files([shipped_cases()])]
    for _ in range(count):
        text = dice.spoilt(dice.choice(known)) if dice.random() < 0.5 else dice.case()
        fuzz.refuse_or_read(dice.spoilt(text) if dice.random() < 0.2 else text, load_case_text)


def runs(fuzz: Fuzz, dice: Dice, count: int) -> None:
    """Whole runs of small cases."""
    for _ in range(count):
        fuzz.run(dice.small_case())


KINDS: dict[str, Callable[[Fuzz, Dice, int], None]] = {"formulas": formulas, "texts": texts, "runs": runs}


def search(kind: str, count: int, seed: int, most_seconds: float = 1.0) -> Fuzz:
    """One kind of input, tried so many times; equal seeds try the same."""
    sys.addaudithook(_hook)
    load_case(find_case_files([shipped_cases()])[0])  # what is imported late is imported now
    for row in OPS.values():
        with contextlib.suppress(CaseError):
            read_formula(f"{row.name}({', '.join(['0.5'] * row.arity)})")
    fuzz = Fuzz(most_seconds)
    KINDS[kind](fuzz, Dice(f"{kind} {seed}"), count)
    return fuzz


def main() -> int:
    """Tries what was asked for; returns 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=(*KINDS, "all"), default="all")
    parser.add_argument("--count", type=int, default=1000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = 0
    for kind in KINDS if args.what == "all" else (args.what,):
        fuzz = search(kind, args.count, args.seed)
        print(
            f"{kind}: {fuzz.tried:,} tried, {fuzz.read:,} read, slowest {fuzz.slowest:.2f} s, {len(fuzz.faults)} found"
        )
        print("".join(f"\n{fault}\n" for fault in fuzz.faults[:20]), end="")
        found += len(fuzz.faults)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
