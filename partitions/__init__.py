"""Splits of a dataset over clients: one file per scheme, named like the function in it.

Every scheme is called as `scheme(labels, num_clients, seed, ...)` and returns a `Partition`. The
package binds the function of each module under the module's name, so `partitions.dirichlet` is the
function (also for Hydra's `_target_`) and a new scheme is one new file. Modules without such a
function, like `partitions.statistics`, stay modules. Helper modules start with an underscore.
"""

from importlib import import_module
from pkgutil import iter_modules

from partitions.partition import Partition as Partition

for _name in [_info.name for _info in iter_modules(__path__) if _info.name[0] != "_"]:
    _module = import_module(f"{__name__}.{_name}")
    globals()[_name] = getattr(_module, _name, _module)
