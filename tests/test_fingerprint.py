"""A user's code that changes, wherever it changes, is new code."""

import importlib
import sys
import types
from typing import NamedTuple

import numpy as np
import pytest

from lstm_jax.errors import InputError
from lstm_jax.fingerprint import of_function
from lstm_jax.spec import from_function, load_file


def functions(source):
    """A module made of text whose source `inspect` can read."""

    def make(tmp_path, name):
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return make


SOURCE = """
import numpy as np
LEAK = 0.1
TABLE = np.arange(3)
UNUSED = 1

def helper(x):
    return x * LEAK

def constructor(input_size, hidden_size):
    def step(x):
        return helper(x) + TABLE.sum()
    return step

def factory(rate):
    def made(input_size, hidden_size):
        return rate
    return made
"""


@pytest.fixture
def module(tmp_path):
    yield functions(SOURCE)(tmp_path, "own_module_of_a_test")
    sys.modules.pop("own_module_of_a_test")


def test_a_constant_or_array_that_a_nested_function_names_counts(module):
    before = of_function(module.constructor)
    assert of_function(module.constructor) == before
    module.UNUSED = 2
    assert of_function(module.constructor) == before
    module.LEAK = 0.9
    after = of_function(module.constructor)
    assert after != before
    module.TABLE = np.arange(3) + 1
    assert of_function(module.constructor) not in (before, after)


def test_values_that_a_closure_holds_count(module):
    assert of_function(module.factory(1.0)) != of_function(module.factory(2.0))
    assert of_function(module.factory(1.0)) == of_function(module.factory(1.0))


def test_a_class_without_source_counts_by_what_it_is_made_of(module):
    """As in a notebook: the functions can be read, the class that they name cannot."""

    def constructor_of(**fields):
        module.Carry = NamedTuple("Carry", list(fields.items()))
        module.Carry.__module__ = "__main__"
        module.constructor.__globals__["LEAK"] = module.Carry
        return of_function(module.constructor)

    assert constructor_of(hidden=int) == constructor_of(hidden=int)
    assert constructor_of(hidden=int) != constructor_of(hidden=int, memory=int)


def test_a_function_without_source_is_refused():
    nowhere = types.FunctionType(compile("0", "<nowhere>", "eval"), {}, "nowhere")
    with pytest.raises(InputError, match="put it into a file"):
        from_function(nowhere)


HELPERS = {
    "value": ("SCALE", "SCALE", "SCALE = {}"),
    "function": ("scale", "scale()", "def scale():\n    return {}"),
}


@pytest.mark.parametrize("kind", HELPERS)
def test_a_helper_that_a_file_imports_counts(tmp_path, monkeypatch, kind):
    name, use, text = HELPERS[kind]
    helper = f"helper_{kind}"
    (tmp_path / "own_cell.py").write_text(
        f"from {helper} import {name}\nfrom lstm_jax.cells import rnn\n\n"
        "def own_cell(input_size, hidden_size):\n"
        f"    return rnn(input_size, hidden_size, recurrent_init='orthogonal', gain={use})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def loaded(scale):
        (tmp_path / f"{helper}.py").write_text(text.format(scale))
        sys.modules.pop(helper, None)
        importlib.invalidate_caches()
        return load_file(str(tmp_path / "own_cell.py"), "cell").sha256

    assert loaded(1.0) == loaded(1.0)
    assert loaded(1.0) != loaded(0.25)
