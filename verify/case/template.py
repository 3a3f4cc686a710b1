"""The case file that ``verify new`` writes: it runs as it stands, and its comments explain each part."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from verify.case.syntax import LONGEST_NAME
from verify.errors import UsageError

LONGEST_STEM = 80
PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?: [A-Za-z0-9]+)*")
NOT_TEXT = ("null", "true", "false")
"""What YAML 1.2 reads as something else than text."""

SCHEMA_FILE = "verify.schema.json"
"""The schema of case files, which ``verify new`` puts into the folder where it is called."""

TEMPLATE = """\
# A case: a function written once. `verify run {stem}.yaml` differentiates it three ways and compares.
# `verify show {stem}.yaml` prints its forward and backward pass; `verify ops` lists what an expression may use.
case: {name}
source: where the function and the figures below come from

# Sizes that shapes and expressions may name.
dims: {{n: 3}}

# `at` is the case's own point: a number, a nested list, or `normal` / `uniform` to draw it from the seed.
# `domain` is where further points are drawn; in quotes, a round bracket leaves an end out: '(0, 10]'.
inputs:
  w: {{shape: [n], at: [0.5, -1, 2], domain: [-3, 3]}}
  x: {{shape: [n], at: [1, 2, -0.5], domain: [-3, 3]}}
  b: {{at: 0.25, domain: [-1, 1]}}

# In order; a stage may use inputs and earlier stages. Each of them is a row of the report.
stages:
  dot: sum(w * x) + b
  y: sigmoid(dot)
  loss: (y - 1)**2 / n

# What the function returns; the last stage, if left out.
output: loss

# With `order: 2` the second derivatives are judged too.
order: 1

# Figures from outside this program, held against all methods, to within half a unit of their last digit: write
# all digits that you know. A whole number is exact. Leave `expect` out where you know none.
expect:
  value: {{dot: -2.25}}

# Further places to look at, each of them with a note of its own.
points:
  - {{b: 1, note: the bias at its end of the domain}}
"""


def case_text(name: str) -> str:
    """A case file called ``name``, as text. Raises UsageError for names that no case can have.

    >>> case_text("my loss").splitlines()[2]
    'case: my loss'
    >>> print(case_text("no: 'one'").splitlines()[2])
    case: "no: 'one'"
    """
    if not name.isprintable():
        message = f"a case needs a name that can be printed, got {name!r}"
        raise UsageError(message)
    if len(name) > LONGEST_NAME:
        message = f"a case needs a name of at most {LONGEST_NAME} characters, got {len(name)}"
        raise UsageError(message)
    plain = PLAIN_NAME.fullmatch(name) and name.lower() not in NOT_TEXT
    return TEMPLATE.format(name=name if plain else json.dumps(name), stem=file_stem(name))


def schema_of(case: str | Path) -> Path:
    """Where the schema for a case file is put: here, where the file is below, or else beside it.

    >>> schema_of("cases/a.yaml").name, schema_of("/elsewhere/a.yaml").as_posix()
    ('verify.schema.json', '/elsewhere/verify.schema.json')
    """
    folder = Path(case).absolute().parent
    return (Path.cwd() if folder.is_relative_to(Path.cwd()) else folder) / SCHEMA_FILE


def modeline(case: str | Path) -> str:
    r"""The comment that tells an editor of the schema of a case file.

    >>> modeline("cases/a.yaml")
    '# yaml-language-server: $schema=../verify.schema.json\n'
    """
    path = os.path.relpath(schema_of(case), Path(case).absolute().parent)
    return f"# yaml-language-server: $schema={Path(path).as_posix()}\n"


def file_stem(name: str) -> str:
    """A file name that is safe everywhere, made of the name's letters and digits. Raises UsageError if it has none.

    >>> file_stem("My loss, 2nd try"), file_stem("../../etc/passwd")
    ('my_loss_2nd_try', 'etc_passwd')
    """
    stem = "_".join(re.findall(r"[a-z0-9]+", name.lower()))[:LONGEST_STEM].rstrip("_")
    if not stem:
        message = f"a case needs a name with at least one letter from a to z or digit, got '{name}'"
        raise UsageError(message)
    return stem
