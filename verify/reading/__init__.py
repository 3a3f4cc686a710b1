"""The old name of :mod:`verify.case`: ``verify.reading.case`` is the same module, for older programs."""

import importlib
import sys

for _name in ("case",):
    sys.modules[f"{__name__}.{_name}"] = importlib.import_module(f"verify.case.{_name}")
