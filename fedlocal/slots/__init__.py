"""The slots of a method, one folder each, named like the fields of `Strategy`.

A slot's folder holds its abstract component (`base.py`) beside the components that fill it. A
component is a frozen dataclass with pure methods. Its state is a tree of tensors (usually a
NamedTuple) that is passed in and returned; `()` is "no state". Methods of the client half operate
on one client, with flat vectors [P]; the vmapped runtime adds the client dimension. So they must
not use `.item()`, branches on tensor values, in-place changes or random calls.

`fedlocal/rounds/client.py` and `fedlocal/rounds/server.py` call these methods, in order.
"""

from typing import TYPE_CHECKING

from fedlocal.utils.lazy_imports import lazy

if TYPE_CHECKING:
    from fedlocal.slots.component import Component
    from fedlocal.slots.compress.base import Compressor, Field, OptionalField
    from fedlocal.slots.correction.base import Correction
    from fedlocal.slots.guarantees import Guarantee, Round, Timing, View
    from fedlocal.slots.inner.base import InnerOptimiser, Rate
    from fedlocal.slots.mixing.base import MessageCounts, Mixing
    from fedlocal.slots.outer.base import OuterOptimiser
    from fedlocal.slots.period.base import Period
    from fedlocal.slots.sampling import Sampling
    from fedlocal.slots.strategy import Strategy

__all__ = [
    "Component",
    "Compressor",
    "Correction",
    "Field",
    "Guarantee",
    "InnerOptimiser",
    "MessageCounts",
    "Mixing",
    "OptionalField",
    "OuterOptimiser",
    "Period",
    "Rate",
    "Round",
    "Sampling",
    "Strategy",
    "Timing",
    "View",
]

HOMES = {
    "Component": "component",
    "Compressor": "compress.base",
    "Correction": "correction.base",
    "Field": "compress.base",
    "Guarantee": "guarantees",
    "InnerOptimiser": "inner.base",
    "MessageCounts": "mixing.base",
    "Mixing": "mixing.base",
    "OptionalField": "compress.base",
    "OuterOptimiser": "outer.base",
    "Period": "period.base",
    "Rate": "inner.base",
    "Round": "guarantees",
    "Sampling": "sampling",
    "Strategy": "strategy",
    "Timing": "guarantees",
    "View": "guarantees",
    # Former names.
    "Legs": "mixing.base",
    "Optional": "compress.base",
    "Piece": "component",
}

__getattr__ = lazy(__name__, HOMES)
