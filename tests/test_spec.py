"""Specs: what is read, what is refused in one line, and that canonical text comes back."""

import inspect
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lstm_jax import spec
from lstm_jax.cells import CELLS
from lstm_jax.errors import InputError


def example(
    first,
    second,
    *,
    whole: int = 3,
    number: float = 0.5,
    flag: bool = False,
    word: Literal["one", "two"] = "one",
    text: str = "plain",
    optional: float | None = None,
    mixed: int | float = 1.0,
    bare=2,
    either: Literal["auto"] | int = "auto",
):
    return first, second


REGISTRY = {"example": example, **CELLS}


def parsed(text):
    return spec.parse(text, REGISTRY, "cell")


def test_defaults():
    read = parsed("example")
    assert read.options == ()
    assert str(read) == "example"
    assert not read.told_gap
    assert read.resolved == {
        "whole": 3,
        "number": 0.5,
        "flag": False,
        "word": "one",
        "text": "plain",
        "optional": None,
        "mixed": 1.0,
        "bare": 2,
        "either": "auto",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("whole=-4", -4),
        ("number=4", 4.0),
        ("number=-1e-3", -0.001),
        ("flag=true", True),
        ("word=two", "two"),
        ("text=any thing=1", "any thing=1"),
        ("text=", ""),
        ("optional=2", 2.0),
        ("mixed=2", 2),
        ("mixed=2.5", 2.5),
        ("bare=7", 7),
        ("either=5", 5),
    ],
)
def test_values_have_the_types_of_the_signature(text, value):
    option = text.partition("=")[0]
    read = parsed(f"example:{text}")
    assert read.options == ((option, value),)
    assert type(read.resolved[option]) is type(value)


@pytest.mark.parametrize(
    "text", ["whole=3", "number=.5", "flag=false", "word=one", "optional=none", "mixed=1"]
)
def test_a_default_that_is_given_is_the_default(text):
    read, plain = parsed(f"example:{text}"), parsed("example")
    assert read == plain
    option = text.partition("=")[0]
    assert type(read.resolved[option]) is type(plain.resolved[option])


def test_the_order_of_options_is_that_of_the_signature():
    read = parsed("example:word=two:whole=1")
    assert str(read) == "example:whole=1:word=two"
    assert read == parsed("example:whole=1:word=two")


def test_the_word_gap():
    read = parsed("lstm:init=chrono:time_scale=gap")
    assert read.told_gap
    assert str(read) == "lstm:init=chrono:time_scale=gap"
    given = {"init": "chrono", "time_scale": 60}
    assert {name: value for name, value in read.arguments(gap=60).items() if value} == given
    assert parsed("example:whole=gap").arguments(gap=7)["whole"] == 7
    assert not parsed("lstm:init=chrono:time_scale=60").told_gap


HUGE = "9" * 400
KNOWN = ", ".join(sorted([*CELLS, "example"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", f"cell '' is not known: allowed are {KNOWN}"),
        ("LSTM", f"cell 'LSTM' is not known: allowed are {KNOWN}"),
        ("example:", "example has no option '': allowed are whole, number"),
        ("example:depth=3", "example has no option 'depth=3': allowed are whole, number"),
        ("example:whole", "example has no option 'whole'"),
        ("example:first=1", "example has no option 'first=1'"),
        ("example:whole=1:whole=1", "option whole is given twice"),
        ("example:whole=1.5", "whole=1.5: allowed are a whole number, the word gap"),
        ("example:whole=", "whole=: allowed are a whole number"),
        (f"example:whole={HUGE}", "allowed are a whole number"),
        (f"example:number={HUGE}", "allowed are a number"),
        ("example:number=nan", "number=nan: allowed are a number, the word gap"),
        ("example:number=inf", "number=inf: allowed are a number"),
        ("example:number=none", "number=none: allowed are a number"),
        ("example:number=__import__('os')", "allowed are a number"),
        ("example:flag=1", "flag=1: allowed are true or false"),
        ("example:flag=gap", "flag=gap: allowed are true or false"),
        ("example:word=three", "word=three: allowed are one, two"),
        ("example:word=gap", "word=gap: allowed are one, two"),
        ("example:optional=some", "optional=some: allowed are none, a number, the word gap"),
        ("example:either=manual", "either=manual: allowed are auto, a whole number"),
    ],
)
def test_what_is_refused_in_one_line(text, words):
    with pytest.raises(InputError) as raised:
        parsed(text)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(codec="utf-8", exclude_characters=":"), max_size=12)


@given(
    whole=st.integers(-(10**15), 10**15) | st.just("gap"),
    number=numbers | st.just("gap"),
    flag=st.booleans(),
    word=st.sampled_from(["one", "two"]),
    text=words,
    optional=st.none() | numbers | st.just("gap"),
    mixed=st.integers(-(10**15), 10**15) | numbers,
)
def test_canonical_text_comes_back(**options):
    # The spec as a whole is stripped, so a space at its end is no part of a text.
    assume(options["text"] == options["text"].strip())
    written = spec.Spec("example", tuple(options.items()), {}, False)
    read = parsed(str(written))
    for name, value in options.items():
        assert read.resolved[name] == value
    again = parsed(str(read))
    assert again == read
    assert str(again) == str(read)
    # What is not default is written, and nothing else.
    defaults = parsed("example").resolved
    assert dict(read.options) == {
        name: value for name, value in read.resolved.items() if value != defaults[name]
    }


def refusal(text):
    """What is said of a spec that is refused; nothing of one that is read."""
    try:
        parsed(text)
    except InputError as error:
        return str(error)
    return ""


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text):
    assert len(refusal(text).splitlines()) <= 1


@given(st.sampled_from(sorted(spec.options_of(example))), st.text(max_size=20))
def test_any_value_is_read_or_refused_in_one_line(option, value):
    assert len(refusal(f"example:{option}={value}").splitlines()) <= 1


def test_options_of_a_constructor():
    options = spec.options_of(example)
    assert list(options) == [
        name
        for name, parameter in inspect.signature(example).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    assert options["bare"] == (int, 2)


def without_default(size, *, gain):
    return size


def with_array(size, *, gains=(1.0,)):
    return size


@pytest.mark.parametrize("constructor", [without_default, with_array])
def test_options_need_defaults_that_can_be_written(constructor):
    with pytest.raises(InputError, match=r"gains? needs a default that is a number, a word"):
        spec.options_of(constructor)


# Files.

DATACLASS = """
from __future__ import annotations
import dataclasses

@dataclasses.dataclass
class Options:
    depth: int = 1

def my_cell(input_size: int, hidden_size: int, *, depth: int = 2):
    return Options(depth)
"""


def test_load_file(tmp_path):
    path = tmp_path / "my_cell.py"
    path.write_text(DATACLASS)
    loaded = spec.load_file(str(path), "cell")
    assert loaded.name == "my_cell"
    assert loaded.constructor(1, 1).depth == 2
    assert list(spec.options_of(loaded.constructor)) == ["depth"]
    first = loaded.sha256
    path.write_text(DATACLASS.replace("= 2", "= 3"))
    changed = spec.load_file(str(path), "cell")
    assert changed.constructor(1, 1).depth == 3
    assert changed.sha256 != first
    assert spec.load_file(str(path), "cell").sha256 == changed.sha256


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("my_cell.txt", "", "is named <function>.py, such as my_cell.py"),
        ("my-cell.py", "", "is named <function>.py, such as my_cell.py"),
        ("my_cell.py", None, "cannot be read (No such file or directory)"),
        ("my_cell.py", "def my_cell(:\n", "SyntaxError when run: "),
        ("my_cell.py", "import nothing_of_that_name\n", "ModuleNotFoundError when run: No module"),
        ("my_cell.py", "raise ValueError('one\\ntwo')\n", "ValueError when run: one"),
        ("my_cell.py", "raise SystemExit(0)\n", "SystemExit when run: 0"),
        ("my_cell.py", "assert False\n", "AssertionError when run: "),
        ("my_cell.py", "your_cell = 3\n", "defines no function my_cell(...) named as the file"),
        ("my_cell.py", "my_cell = 3\n", "defines no function my_cell(...) named as the file"),
        ("my_cell.py", b"\xff\xfe\x00", "SyntaxError when run: "),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, source, words):
    path = tmp_path / name
    if isinstance(source, bytes):
        path.write_bytes(source)
    elif source is not None:
        path.write_text(source)
    with pytest.raises(InputError) as raised:
        spec.load_file(str(path), "cell")
    assert words in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_directory_is_no_file(tmp_path):
    (tmp_path / "my_cell.py").mkdir()
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        spec.load_file(str(tmp_path / "my_cell.py"), "cell")


def test_the_word_gap_as_a_word_is_a_word():
    def constructor(gap, *, mode: Literal["gap", "other"] = "other", scale: float = 1.0):
        return mode, scale

    word = spec.parse("so:mode=gap", {"so": constructor}, "task")
    assert not word.told_gap
    assert word.arguments(7) == {"mode": "gap", "scale": 1.0}
    told = spec.parse("so:scale=gap", {"so": constructor}, "task")
    assert told.told_gap
    assert told.arguments(7) == {"mode": "other", "scale": 7}
