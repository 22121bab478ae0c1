"""Mixings that several strategies share; others are in their strategy's file."""

from fedlocal.slots.mixing.base import MessageCounts, Mixing, WeightedMean, Weights
from fedlocal.slots.mixing.cooperative import Cooperative
from fedlocal.slots.mixing.gossip import CompressedGossip
from fedlocal.slots.mixing.graph import as_graph, check_graph, describe, spectral_gap
from fedlocal.slots.mixing.graph_kinds import ErdosRenyi, Given, Graph
from fedlocal.slots.mixing.own_models import OwnModels

__all__ = [
    "CompressedGossip",
    "Cooperative",
    "ErdosRenyi",
    "Given",
    "Graph",
    "MessageCounts",
    "Mixing",
    "OwnModels",
    "WeightedMean",
    "Weights",
    "as_graph",
    "check_graph",
    "describe",
    "spectral_gap",
]
