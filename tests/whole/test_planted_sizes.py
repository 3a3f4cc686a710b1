"""How small a fault is caught: a part of ``planted_sizes.py``, with the twin that what is right passes."""

from __future__ import annotations

import pytest
from planted_sizes import LEAST, case_texts, faults, in_float32, is_caught, missed, row_by_row

from verify.case.case import load_case_text
from verify.running.runner import run_loaded
from verify.running.settings import Settings

TEXTS = case_texts()
SMALL = ("add", "matmul", "sigmoid_neuron", "staged_function")


@pytest.mark.parametrize("method", ["reverse", "symbolic"])
@pytest.mark.parametrize("name", SMALL)
def test_a_millionth_of_a_millionth_is_caught(name: str, method: str) -> None:
    """In every op row that the case uses."""
    planted, places = missed(TEXTS[name], method, LEAST[method, "float64"])
    assert [] == places
    assert planted > 0


@pytest.mark.parametrize("method", ["reverse", "symbolic"])
def test_it_is_caught_through_a_chain_of_fifty_ops(method: str) -> None:
    """One op row; ``planted_sizes.py`` tries them all."""
    case = load_case_text(TEXTS["chain"])
    assert sum(node.kind == "op" for node in case.graph.nodes) >= 50
    assert is_caught(case, next(faults(case, method, LEAST[method, "float64"])))


@pytest.mark.parametrize("name", TEXTS)
def test_central_sees_a_hundredth_of_a_millionth(name: str) -> None:
    """Its step is proved to cost less than that."""
    assert (1, []) == missed(TEXTS[name], "central", LEAST["central", "float64"])


@pytest.mark.parametrize("method", ["reverse", "central"])
@pytest.mark.parametrize("name", ["add", "sigmoid_neuron", "staged_function"])
def test_ten_times_what_is_allowed_fails_in_every_row(name: str, method: str) -> None:
    """In float64 and, for the engine, in float32."""
    texts = [TEXTS[name], in_float32(TEXTS[name])] if method == "reverse" else [TEXTS[name]]
    for text in texts:
        count, passed = row_by_row(text, method)
        assert [] == passed
        assert count > 0


@pytest.mark.parametrize("name", ["add", "staged_function"])
def test_a_tenth_of_what_is_allowed_passes(name: str) -> None:
    """The twin: not every change fails, but for those that a printed figure of 17 digits tells."""
    count, passed = row_by_row(TEXTS[name].partition("expect:")[0], "reverse", 0.1)
    assert count == len(passed) > 0


@pytest.mark.parametrize("name", TEXTS)
def test_without_a_fault_the_cases_pass(name: str) -> None:
    """The other twin, in both dtypes."""
    for text in (TEXTS[name], in_float32(TEXTS[name])):
        assert run_loaded(load_case_text(text), Settings(points=0)).passes
