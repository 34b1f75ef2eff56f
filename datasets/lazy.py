"""Deferred import of slow or optional libraries: the import happens at the first use of an attribute.

    styles = lazy("openpyxl.styles")  # slow to import, rarely needed
    styles.Font(bold=True)            # imports it

Use it only for third-party libraries, in modules that are also imported by code that does not need the
library. Otherwise, and for mmprod's own modules, write a plain import.
"""

import importlib
from typing import Any


class _Lazy:
    """Placeholder for a module that is not imported yet."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)

    def __repr__(self) -> str:
        return f"lazy({self._name!r})"


def lazy(name: str) -> Any:
    """A placeholder for module `name` (its full name); using an attribute imports the module.

    That first use raises ImportError, as `import` does, when the module is missing or can't be imported.
    """
    return _Lazy(name)
