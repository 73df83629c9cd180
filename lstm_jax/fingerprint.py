"""What a user's code is, as a hash: a changed cell or task must get new trials.

The source that is hashed is that of the file or function itself and of everything of the user's own
that it reaches: modules that the file imports, and names outside a function. Installed packages and
this one are told by the versions in the rows.
"""

import hashlib
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterable

from lstm_jax.errors import InputError

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_SCALARS = (str, bytes, int, float, complex, bool, type(None))


def of_file(source: bytes, imported: Iterable[types.ModuleType]) -> str:
    """Hash of a file; where it imported modules of the user's own, of those too."""
    own = sorted(path for module in imported if (path := _own_path(module)))
    if not own:
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256(source)
    for path in own:
        with open(path, "rb") as file:
            digest.update(b"\0" + file.read())
    return digest.hexdigest()


def of_function(function: Callable) -> str:
    """Hash of a function's source and of the values and functions outside it that it names.

    Raises:
      InputError: something that it names can neither be read as source nor compared by value.
    """
    parts: list[str] = []
    _reach(function, parts, set())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def imports_of(module: types.ModuleType, before: set[str]) -> list[types.ModuleType]:
    """Modules that came with running a user's module: those that are new, and those it names."""
    new = [sys.modules[name] for name in list(sys.modules) if name not in before]
    named = [value for value in vars(module).values() if isinstance(value, types.ModuleType)]
    homes = [sys.modules.get(getattr(value, "__module__", "")) for value in vars(module).values()]
    unique = {id(found): found for found in (*new, *named, *homes) if found not in (None, module)}
    return list(unique.values())


def _own_path(module: types.ModuleType) -> str | None:
    """The file of a module of the user's own; None for installed ones, the standard library, us."""
    path = getattr(module, "__file__", None)
    if not isinstance(path, str) or not path.endswith(".py"):
        return None
    path = os.path.abspath(path)
    name = module.__name__.partition(".")[0]
    if name in sys.stdlib_module_names or name.startswith("lstm_jax_user_"):
        return None
    installed = ("site-packages", "dist-packages")
    if path.startswith(_PACKAGE + os.sep) or any(folder in path for folder in installed):
        return None
    return path


def _reach(value: object, parts: list[str], seen: set[int]) -> None:
    """Adds to `parts` what tells `value` apart, and everything that it reaches."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, _SCALARS):
        parts.append(repr(value))
    elif isinstance(value, list | tuple | set | frozenset):
        parts.append(type(value).__name__)
        for item in value:
            _reach(item, parts, set())
    elif isinstance(value, dict):
        for key, item in value.items():
            parts.append(repr(key))
            _reach(item, parts, set())
    elif hasattr(value, "tobytes") and hasattr(value, "dtype"):  # an array, of NumPy or JAX
        parts.append(f"{value.dtype} {value.shape} {value.tobytes().hex()}")
    elif isinstance(value, types.ModuleType) or _installed(value):
        parts.append(getattr(value, "__name__", repr(type(value))))
    elif inspect.isclass(value):
        # A class of a notebook has no source to read; what it is made of has.
        parts += [value.__qualname__, repr(getattr(value, "__annotations__", {}))]
        for name, member in sorted(vars(value).items()):
            if inspect.isfunction(member) and member.__module__ == value.__module__:
                parts.append(name)
                _reach(member, parts, seen)
            elif isinstance(member, _SCALARS) and not name.startswith("__"):
                parts.append(f"{name}={member!r}")
    elif inspect.isfunction(value):
        try:
            parts.append(inspect.getsource(value))
        except (OSError, TypeError):
            raise InputError(
                f"{value.__name__}: its source cannot be read; put it into a file"
            ) from None
        for name, outside in _outside(value):
            parts.append(name)
            _reach(outside, parts, seen)
    else:
        parts.append(repr(type(value)))
        _reach(getattr(value, "__dict__", {}), parts, seen)


def _installed(value: object) -> bool:
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    return module is not None and module.__name__ != "__main__" and _own_path(module) is None


def _outside(function: types.FunctionType) -> list[tuple[str, object]]:
    """Names and values that a function and those nested in it read from outside."""
    codes, names = [function.__code__], set()
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    found = [(name, function.__globals__[name]) for name in names if name in function.__globals__]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        found.append((name, cell.cell_contents))
    found += [("defaults", function.__defaults__), ("keywords", function.__kwdefaults__)]
    return sorted(found, key=lambda pair: pair[0])
