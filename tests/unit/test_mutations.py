"""Every mutation of the rules (`benchmarks/mutations.py`) still fits the code it is to break."""

from __future__ import annotations

import ast

import pytest

from benchmarks.mutations import MUTATIONS, ROOT, Mutation, mutated


@pytest.mark.parametrize("mutation", [pytest.param(m, id=m.what) for m in MUTATIONS])
def test_a_mutation_occurs_once_and_is_another_programme_that_parses(mutation: Mutation) -> None:
    before = (ROOT / "forebay" / mutation.file).read_text(encoding="utf-8")
    assert before.count(mutation.old) == 1
    assert ast.dump(ast.parse(mutated(mutation))) != ast.dump(ast.parse(before))
