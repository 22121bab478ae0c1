"""The slots of a round as abstract pieces.

A piece is a frozen dataclass with pure methods. Its state is a tree of tensors (usually a
NamedTuple) that is handed in and out; `()` is "no state". Methods of the client half see one
client, with flat vectors [P]; the vmapped runtime adds the client dimension. So: no `.item()`, no
branch on a tensor's value, no in-place change, no random call.

Who calls what, in which order: `fedlocal/client.py` and `fedlocal/server.py`.
"""

from fedlocal.pieces.correction import Correction
from fedlocal.pieces.inner import InnerOptimiser, Rate
from fedlocal.pieces.link import Compressor, Field, Optional
from fedlocal.pieces.mixing import Legs, Mixing
from fedlocal.pieces.outer import OuterOptimiser
from fedlocal.pieces.piece import Piece
from fedlocal.pieces.schedule import Period, Sampling
from fedlocal.pieces.terms import Guarantee, Round, Timing, View

__all__ = [
    "Compressor",
    "Correction",
    "Field",
    "Guarantee",
    "InnerOptimiser",
    "Legs",
    "Mixing",
    "Optional",
    "OuterOptimiser",
    "Period",
    "Piece",
    "Rate",
    "Round",
    "Sampling",
    "Timing",
    "View",
]
