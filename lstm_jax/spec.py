"""One syntax for cells and tasks: a name and options joined by colons, `lstm:forget_bias=4`.

Options are read against the constructor's signature and never evaluated. The word `gap` as the
value of a number tells the constructor the gap of the trial: `lstm:init=chrono:time_scale=gap`.
"""

import importlib.util
import inspect
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from lstm_jax import fingerprint
from lstm_jax.errors import InputError

Value = str | int | float | bool | None
GAP = "gap"


class Spec(NamedTuple):
    """A parsed spec.

    Attributes:
      name: as registered.
      options: those given that differ from the default, in the order of the signature.
      resolved: all options with their values, defaults included.
      told: the options that are the gap itself.
    """

    name: str
    options: tuple[tuple[str, Value], ...]
    resolved: dict[str, Value]
    told: tuple[str, ...] = ()

    @property
    def told_gap(self) -> bool:
        """Whether some option is the gap itself."""
        return bool(self.told)

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{name}={_text(value)}" for name, value in self.options)])

    def arguments(self, gap: int) -> dict[str, Value]:
        """Keyword arguments of the constructor at this gap."""
        return {name: gap if name in self.told else value for name, value in self.resolved.items()}


def parse(
    text: str, registry: Mapping[str, Callable], what: str, *, knows_gap: bool = True
) -> Spec:
    """Reads one spec.

    Args:
      text: such as `lstm:forget_bias=4:init=pytorch`.
      registry: constructors by name.
      what: `cell`, `task` or `optimizer`, for messages.
      knows_gap: whether an option may be told the gap.

    Raises:
      InputError: unknown name or option, an option given twice, or a value of the wrong type.
    """
    name, *parts = text.strip().split(":")
    if name not in registry:
        raise InputError(f"{what} {name!r} is not known: allowed are {', '.join(sorted(registry))}")
    allowed = options_of(registry[name])
    given: dict[str, Value] = {}
    for part in parts:
        option, equals, value = part.partition("=")
        if option not in allowed or not equals:
            names = ", ".join(allowed) if allowed else "none"
            raise InputError(f"{text!r}: {name} has no option {part!r}: allowed are {names}")
        if option in given:
            raise InputError(f"{text!r}: option {option} is given twice")
        annotation = allowed[option].annotation
        given[option] = _value(value, annotation, f"{text!r}: {option}", knows_gap)
    # 1 given for a default of 1.0 is that default, so that both are one trial.
    resolved = {
        option: given[option] if given.get(option, default) != default else default
        for option, (_, default) in allowed.items()
    }
    options = tuple(
        (option, value) for option, value in resolved.items() if value != allowed[option].default
    )
    told = tuple(
        option
        for option, value in given.items()
        if value == GAP and not _is_word(GAP, allowed[option].annotation)
    )
    return Spec(name, options, resolved, told)


class Option(NamedTuple):
    """A keyword-only argument of a constructor: its type and its default."""

    annotation: Any
    default: Value


def options_of(constructor: Callable) -> dict[str, Option]:
    """The keyword-only arguments of a constructor, in order.

    Raises:
      InputError: one has no default, or a default that is not a JSON scalar.
    """
    hints = typing.get_type_hints(constructor)
    options = {}
    for name, parameter in inspect.signature(constructor).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        default = parameter.default
        if default is inspect.Parameter.empty or not isinstance(default, Value):
            raise InputError(
                f"{constructor.__name__}: option {name} needs a default that is a number, a word, "
                "True, False or None"
            )
        options[name] = Option(hints.get(name, type(default)), default)
    return options


class UserFile(NamedTuple):
    """A user's constructor, its name, and the SHA-256 of its source (see `fingerprint`)."""

    name: str
    constructor: Callable
    sha256: str


def from_function(constructor: Callable) -> UserFile:
    """A constructor from a notebook or script, under its own name.

    Raises:
      InputError: its source, which tells a changed cell from the old one, cannot be had.
    """
    return UserFile(constructor.__name__, constructor, fingerprint.of_function(constructor))


def load_file(path: str, what: str) -> UserFile:
    """Runs a user's Python file and takes from it the function named as the file: `my_cell` from
    `my_cell.py`. This is code, and runs as such.

    Raises:
      InputError: unreadable, not Python, fails when run, or has no such function.
    """
    name, extension = os.path.splitext(os.path.basename(path))
    if extension != ".py" or not name.isidentifier():
        raise InputError(f"{path!r}: a {what} file is named <function>.py, such as my_{what}.py")
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise InputError(f"{path!r}: cannot be read ({error.strerror})") from None
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_file_location(f"lstm_jax_user_{what}_{name}", path)
    )
    before = set(sys.modules)
    sys.modules[module.__name__] = module  # dataclasses look their own module up there
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        message = str(error).splitlines()[0] if str(error) else ""
        raise InputError(f"{path!r}: {type(error).__name__} when run: {message}") from error
    constructor = getattr(module, name, None)
    if not inspect.isfunction(constructor):
        raise InputError(f"{path!r}: defines no function {name}(...) named as the file")
    imported = fingerprint.imports_of(module, before)
    return UserFile(name, constructor, fingerprint.of_file(source, imported))


def _text(value: Value) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _is_word(text: str, annotation: Any) -> bool:
    """Whether `text` is a value of the type as it stands."""
    return any(_convert(text, member) is not _NOT for member in members(annotation))


def _value(text: str, annotation: Any, where: str, knows_gap: bool) -> Value:
    """`text` as a value of an annotated type; the first member of a union that takes it wins."""
    allowed_types = members(annotation)
    for member in allowed_types:
        converted = _convert(text, member)
        if converted is not _NOT:
            return converted
    numbers = knows_gap and {int, float}.intersection(allowed_types)
    if text == GAP and numbers:
        return GAP
    allowed = [_described(member) for member in allowed_types] + (
        [f"the word {GAP}"] if numbers else []
    )
    shown = text if text.isprintable() else repr(text)
    raise InputError(f"{where}={shown}: allowed are {', '.join(allowed)}")


_NOT = object()
_CONSTANTS = {"true": True, "false": False}


def members(annotation: Any) -> tuple:
    """Members of a union, from the narrowest: None, bool, words, int, float, str."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        order = {types.NoneType: 0, bool: 1, int: 3, float: 4, str: 5}
        return tuple(sorted(typing.get_args(annotation), key=lambda member: order.get(member, 2)))
    return (annotation,)


def _convert(text: str, member: Any) -> Any:
    if typing.get_origin(member) is Literal:
        words = {str(word): word for word in typing.get_args(member)}
        return words.get(text, _NOT)
    if member is types.NoneType:
        return None if text == "none" else _NOT
    if member is bool:
        return _CONSTANTS.get(text, _NOT)
    if member is str:
        return text
    if member in (int, float):
        try:
            value = member(text)
            return value if math.isfinite(value) else _NOT
        except (ValueError, OverflowError):  # no number, or a whole one beyond any float
            return _NOT
    return _NOT


def _described(member: Any) -> str:
    if typing.get_origin(member) is Literal:
        return ", ".join(map(str, typing.get_args(member)))
    words = {types.NoneType: "none", bool: "true or false", int: "a whole number"}
    return words.get(member, "a number" if member is float else "text")
