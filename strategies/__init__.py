"""One file per algorithm: its new piece, if it has one, and a function that returns a Strategy.

The function has its file's name, and the package binds it under that name: `from strategies import
vrl_sgd` is the function, and so is Hydra's `_target_: strategies.vrl_sgd`. A new algorithm is a
new file, nothing here changes.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    globals()[_module.name] = getattr(import_module(f"{__name__}.{_module.name}"), _module.name)
