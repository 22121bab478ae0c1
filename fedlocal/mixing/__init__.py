"""Mixings that several strategies share. One that serves a single strategy lives in its file."""

from fedlocal.mixing.cooperative import Cooperative
from fedlocal.mixing.gossip import CompressedGossip
from fedlocal.mixing.graph import as_graph, check_graph, describe, spectral_gap
from fedlocal.mixing.kinds import ErdosRenyi, Given, Graph
from fedlocal.mixing.mean import WeightedMean, Weights
from fedlocal.mixing.own import OwnModels

__all__ = [
    "CompressedGossip",
    "Cooperative",
    "ErdosRenyi",
    "Given",
    "Graph",
    "OwnModels",
    "WeightedMean",
    "Weights",
    "as_graph",
    "check_graph",
    "describe",
    "spectral_gap",
]
