"""Methods: one file per algorithm, with a function that returns a `Strategy`.

The function has its file's name, and the package binds it under that name: `from strategies import
vrl_sgd` is the function, and so is Hydra's `_target_: strategies.vrl_sgd`. To add an algorithm, add
a file.

Parameters that strategies share:

    lr: Local step size, a number or a schedule (`fedlocal.slots.Rate`).
    period: Local steps per round, H, a number or a schedule (`fedlocal.slots.Period`).
    epochs: Passes over each client's own data per round, instead of `period`.
    momentum, nesterov: Momentum of the local steps, in [0, 1), and whether it is Nesterov's.
    weight_decay: Factor of the L2 term that is added to every gradient.
    buffers: Treatment of the clients' momentum after a round: keep, reset or average.
    weights: Weights of the mean over clients: uniform, or by their example counts.
    uplink, downlink: Compressors of the uploads and of the broadcast.
    graph: Communication graph, a name or an object (`fedlocal.slots.mixing.as_graph`).
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    globals()[_module.name] = getattr(import_module(f"{__name__}.{_module.name}"), _module.name)
