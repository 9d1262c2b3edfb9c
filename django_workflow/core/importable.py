"""Functions and classes known by their dotted path, so that another process finds them when the code is not running."""

from __future__ import annotations

from importlib import import_module
from sys import modules
from typing import Any, Final

from django_workflow.core.exceptions import InvalidOptionError

PATH_LENGTH: Final = 255


def dotted_path(value: Any, what: str) -> str:
    """Return the path under which a callable can be imported; a path is taken as it is.

    Raises:
        InvalidOptionError: it is a lambda, a local function, or anything else that no other process can import.
    """
    if isinstance(value, str):
        load(value, what)
        return value
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if not callable(value) or not isinstance(module, str) or not isinstance(name, str):
        raise InvalidOptionError(
            f"{what} must be a function or class, or its dotted path, not {value!r}."
        )
    path = f"{module}.{name}"
    if "<" in name or _find(modules.get(module), name) is not value:
        raise InvalidOptionError(
            f"{what} is {path}, which no other process can import: it is a lambda, is defined inside a function, or was "
            "put in the place of what its module calls so. Define it at the top of a module."
        )
    return _short(path, what)


def load(path: str, what: str) -> Any:
    """Return what a dotted path leads to.

    Raises:
        InvalidOptionError: it leads to nothing that can be called.
    """
    parts = _short(path, what).split(".")
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        try:
            module = modules.get(name) or import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{name}.".startswith(f"{error.name}."):
                continue
            raise _nowhere(path, what, error) from error
        except Exception as error:  # broad: what a module does when it is imported
            raise _nowhere(path, what, error) from error
        found = _find(module, ".".join(parts[length:]))
        if callable(found):
            return found
        break
    raise _nowhere(path, what, None)


def _nowhere(path: str, what: str, error: Exception | None) -> InvalidOptionError:
    reason = f": {error}" if error is not None else ""
    return InvalidOptionError(f'{what} "{path}" cannot be imported in this process{reason}.')


def _short(path: str, what: str) -> str:
    if not path or len(path) > PATH_LENGTH:
        raise InvalidOptionError(
            f"{what} has a dotted path of {len(path)} characters; 1 to {PATH_LENGTH} are kept."
        )
    return path


def _find(module: Any, name: str) -> Any:
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
