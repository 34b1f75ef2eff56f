import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def day_tables():
    """The module day_tables.py beside this file."""
    name = "mmprod_tests_day_tables"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("day_tables.py"))
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]
