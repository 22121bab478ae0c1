"""Compressors against a plain copy of the same rows, and the wire's bits.

    uv run python benchmarks/compressors.py                             # K = 4, P = 11,000,000
    uv run python benchmarks/compressors.py --clients 64 --size 9610    # what a study mostly has

All variants take turns in one process, so that a slow minute of the machine hits all of them
alike; least times. GB/s counts only what a compressor must at least read and write: the vector,
the uniforms, and the message as tensors, each once. "Of a copy" is that against the GB/s of
copying the rows into memory that is there already; a result in fresh memory ("fresh copy") costs
several times that by itself. Packing and unpacking are of one client's message, in millions of
bytes on the wire a second.
"""

import argparse
import platform
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlocal.rounds.message_bytes import Header, nbytes, pack, unpack
from fedlocal.rounds.message_formats import link_noise
from fedlocal.slots import Compressor
from fedlocal.slots.compress import (
    QSGD,
    ErrorFeedback,
    Natural,
    PowerSGD,
    QuantisedTopK,
    RandomK,
    ScaledSign,
    TernGrad,
    TopK,
)
from fedlocal.vectors.flat import ParamSpec
from fedlocal.vectors.rng import Purpose
from fedlocal.vectors.trees import leaves, take

# A layer of a residual network; the vector is as many of them as fit, and a rest.
LAYER = (512, 4608)
SMALL = (64, 128)

COMPRESSORS: dict[str, Compressor] = {
    "TopK 0.01": TopK(0.01),
    "TopK 0.1": TopK(0.1),
    "RandomK 0.01": RandomK(0.01),
    "QSGD 16": QSGD(16),
    "TernGrad": TernGrad(),
    "TernGrad, clip 2.5": TernGrad(2.5),
    "ScaledSign": ScaledSign(),
    "Natural": Natural(),
    "PowerSGD 2": PowerSGD(2),
    "QuantisedTopK 0.01, 16": QuantisedTopK(TopK(0.01), QSGD(16)),
    "ErrorFeedback, TopK 0.01": ErrorFeedback(TopK(0.01)),
    "ErrorFeedback, QSGD 16": ErrorFeedback(QSGD(16)),
}


class Case(NamedTuple):
    """Steps by name, each timed by itself, and the bytes that the first two cannot avoid."""

    steps: dict[str, Callable[[], object]]
    encode: int
    decode: int
    wire: int


def spec(size: int) -> ParamSpec:
    """Matrices and a vector of `size` scalars in all."""
    matrix = LAYER if size > LAYER[0] * LAYER[1] else SMALL
    count, rest = divmod(size, matrix[0] * matrix[1])
    shapes = (matrix,) * count + ((rest,),) * (rest > 0)
    return ParamSpec(tuple(f"layer{i}" for i in range(len(shapes))), shapes)


def case(compressor: Compressor, v: Tensor) -> Case:
    clients, size = v.shape
    compressor = compressor.bind(spec(size))
    layout, ids = compressor.layout(size), np.arange(clients)
    draw = partial(link_noise, compressor, Purpose.UPLINK, ids, 3, 0, v[0])
    noise, states = draw(), torch.vmap(compressor.init)(v)
    encode = partial(torch.vmap(compressor.encode), v, states, noise)
    message, _ = encode()
    decode = partial(torch.vmap(partial(compressor.decode, size=size)), message, noise)
    one, header = take(message, 0), Header(0, 0)
    data = pack(header, one, layout, v.dtype)
    sent = sum(t.nbytes for t in leaves(message))
    # Who draws the positions from the noise reads it again; the others' decode does not.
    again = noise.nbytes if isinstance(compressor, RandomK) else 0
    # The residual is read and written.
    memory = 2 * v.nbytes if isinstance(compressor, ErrorFeedback) else 0
    return Case(
        {
            "noise": draw,
            "encode": encode,
            "decode": decode,
            "pack": partial(pack, header, one, layout, v.dtype),
            "unpack": partial(unpack, data, layout, v.dtype),
        },
        encode=v.nbytes + noise.nbytes + memory + sent,
        decode=sent + again + v.nbytes,
        wire=nbytes(layout, v.dtype),
    )


def timings(v: Tensor, turns: int) -> tuple[dict[str, dict[str, float]], dict[str, Case]]:
    """Measure the least seconds of every step of every variant, and the bytes of each variant."""
    there = torch.empty_like(v)
    copies = {"copy": partial(there.copy_, v), "fresh copy": v.clone}
    least: dict[str, dict[str, float]] = {"copy": {}}
    cases: dict[str, Case] = {}
    for _ in range(turns):
        _time(least["copy"], copies)
        for name, compressor in COMPRESSORS.items():
            # Made anew each time: all of them at once would not fit in memory.
            made = case(compressor, v)
            _time(least.setdefault(name, {}), made.steps)
            cases[name] = made._replace(steps={})
    return least, cases


def _time(least: dict[str, float], steps: dict[str, Callable[[], object]]) -> None:
    for step, run in steps.items():
        began = perf_counter()
        run()
        least[step] = min(least.get(step, float("inf")), perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--size", type=int, default=11_000_000)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    shape = options.clients, options.size
    v = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    least, cases = timings(v, options.turns)
    copies = least.pop("copy")
    copy = 2 * v.nbytes / copies["copy"] / 1e9
    print(f"torch {torch.__version__}, numpy {np.__version__}, {torch.get_num_threads()} threads,")
    print(f"{platform.machine()}. Copy {1e3 * copies['copy']:.2f} ms, {copy:.1f} GB/s;", end=" ")
    print(f"fresh copy {1e3 * copies['fresh copy']:.2f} ms")
    print("| compressor | K | P | ms noise | encode | decode | GB/s encode | decode", end=" ")
    print("| of a copy, encode | decode | MB/s packed | unpacked |")
    print("|---|" + "---|" * 11)
    for name, seconds in least.items():
        each = cases[name]
        encode = each.encode / seconds["encode"] / 1e9
        decode = each.decode / seconds["decode"] / 1e9
        packed, unpacked = (each.wire / seconds[step] / 1e6 for step in ("pack", "unpack"))
        print(
            f"| {name} | {shape[0]} | {shape[1]} | {1e3 * seconds['noise']:.2f}"
            f" | {1e3 * seconds['encode']:.2f} | {1e3 * seconds['decode']:.2f}"
            f" | {encode:.2f} | {decode:.2f} | {encode / copy:.2f} | {decode / copy:.2f}"
            f" | {packed:.0f} | {unpacked:.0f} |"
        )


if __name__ == "__main__":
    main()
