"""What a word of the reports means: verdicts, rules, findings and reasons, as their enumerations say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from verify.errors import UsageError, did_you_mean
from verify.words import Explained, FindingKind, NoVerdict, Rule, Unproved, Verdict

KINDS: Mapping[type[Explained], str] = {
    Verdict: "verdict",
    NoVerdict: "in place of a verdict",
    FindingKind: "finding",
    Rule: "rule",
    Unproved: "why a row is not proved",
}
"""The enumerations, with what a member of each is."""


def explained(asked: str) -> str:
    """What a word means, an example, and what to do. Raises UsageError for a word that no report has.

    >>> print(explained("not-linear"))
    not linear (finding)
      The answer is not linear in the upstream gradient.
      example: The upstream gradient is squared, clipped, or left out.
      remedy:  Multiply by the upstream gradient once, and by nothing else that depends on it.
    """
    wanted = _plain(asked)
    found = [(word, kind) for word, kind in _words() if wanted in (_plain(word.value), _plain(word.name))]
    if not found:
        known = sorted({_plain(word.value) or _plain(word.name) for word, _ in _words()})
        near = did_you_mean(wanted, known)
        raise UsageError(f"no report has the word '{asked}'. {near}".rstrip() + f" Known are: {', '.join(known)}")
    return "\n\n".join(_told(word, kind) for word, kind in found)


def all_words() -> str:
    """Every word with what it means, in a line each.

    >>> all_words().splitlines()[1]
    '  PASS: The answers agree with the truth, or with each other, to within what rounding may cost.'
    """
    lines = []
    for kind, what in KINDS.items():
        lines += [f"{what}:", *(f"  {word.value or word.name.lower()}: {word.meaning}" for word in kind), ""]
    return "\n".join(lines).rstrip()


def _words() -> Iterator[tuple[Explained, str]]:
    for kind, what in KINDS.items():
        for word in kind:
            yield word, what


def _told(word: Explained, kind: str) -> str:
    facts = [f"{word.value or word.name.lower()} ({kind})", f"  {word.meaning}"]
    facts += [f"  example: {word.example}"] * bool(word.example)
    facts += [f"  remedy:  {word.remedy}"] * bool(word.remedy)
    return "\n".join(facts)


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("-", " ").replace("_", " ").split())
