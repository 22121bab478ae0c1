"""Forwarding of former import paths, with a warning that names the present one.

Users' yaml files, scripts and pyproject files may hold former paths.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Former -> present modules and packages, all inside fedlocal.
MOVED = {
    "accuracy": "objective.accuracy",
    "augment": "objective.augment",
    "average": "slots.inner.averaged",
    "bits": "vectors.bits",
    "checkpoint": "rounds.checkpoint",
    "cite": "cli.cite",
    "class_criteria": "objective.class_criteria",
    "cli.origin": "cli.provenance",
    "cli.outcome": "cli.run_files",
    "client": "rounds.client",
    "client_table": "rounds.client_table",
    "clients": "data.clients",
    "clock": "rounds.clock",
    "compress": "slots.compress",
    "config.blame": "config.error_location",
    "config.chosen": "config.components",
    "config.headline": "config.first_line",
    "config.known": "config.known_keys",
    "config.locate": "config.target_lookup",
    "config.refusal": "config.errors",
    "correction": "slots.correction.proximal",
    "course": "rounds.run_loop",
    "criteria": "objective.criteria",
    "data.characters": "data.next_character",
    "data.hospitals": "data.heart_disease_data",
    "data.speeches": "data.speakers",
    "deadline": "rounds.deadline",
    "deploy": "flower.deploy",
    "device": "utils.device",
    "evaluate": "rounds.scoring",
    "fingerprint": "rounds.fingerprint",
    "flat": "vectors.flat",
    "flattened": "utils.flat_config",
    "flower.deploy.about": "flower.deploy.versions",
    "flower.deploy.host": "flower.deploy.watchdog",
    "flower.deploy.register": "flower.deploy.register_keys",
    "flower.disk": "flower.node_file",
    "flower.home": "flower.isolation",
    "flower.private": "flower.flower_internals",
    "goal": "rounds.goal",
    "in_process": "rounds.population",
    "inner": "slots.inner.sgd",
    "job": "cli",
    "lars": "slots.inner.lars",
    "ledger": "rounds.ledger",
    "ledger_file": "rounds.ledger",
    "links": "slots.message_check",
    "losses": "objective.losses",
    "main": "cli.main",
    "memory": "utils.memory",
    "mixing": "slots.mixing",
    "node": "flower.node",
    "noise": "rounds.message_formats",
    "objective.agreement": "objective.gradient_check",
    "objective.inspection": "objective.model_traits",
    "objective.setup": "objective.construction",
    "objective.trial": "objective.dry_run",
    "options": "objective.options",
    "outer": "slots.outer.sgd",
    "participation": "rounds.faults",
    "payload": "rounds.payload",
    "period": "slots.period",
    "period.adacomm": "slots.period.adacomm",
    "period.schedules": "slots.period.schedules",
    "pieces": "slots",
    "pieces.link": "slots.compress.base",
    "pieces.piece": "slots.component",
    "pieces.schedule": "slots.period.base",
    "pieces.terms": "slots.guarantees",
    "precision": "objective.precision",
    "progress": "report.progress",
    "rates": "slots.inner.lr_schedules",
    "recorded": "runtime.tracing",
    "recorded.graph": "runtime.tracing.trace",
    "recorded.program": "runtime.tracing.backends",
    "recorded.replayed": "runtime.tracing.cuda_graphs",
    "recorded.rewrite": "runtime.tracing.graph_passes",
    "replay": "rounds.retimed",
    "report.heat": "report.heat_maps",
    "report.holdings": "report.partition_summary",
    "report.replayed": "report.retimed",
    "report.table": "report.tables",
    "report.tracking.echo": "report.tracking.stdout",
    "report.tracking.guarded": "report.tracking.tracker_group",
    "report.tracking.identity": "report.tracking.run_ids",
    "result": "rounds.result",
    "rng": "vectors.rng",
    "rounds.changes": "rounds.changed_values",
    "rounds.evaluate": "rounds.scoring",
    "rounds.late": "rounds.late_updates",
    "rounds.messages": "rounds.message_formats",
    "rounds.progress": "rounds.run_loop",
    "rounds.wire": "rounds.message_bytes",
    "runtime.flower_bundle": "flower.app_bundle",
    "runtime.flower_client": "flower.client_app",
    "runtime.flower_engine": "flower.engine",
    "runtime.flower_inprocess": "flower.inprocess",
    "runtime.flower_nodes": "flower.remote_population",
    "runtime.flower_server": "flower.server_app",
    "runtime.flower_settings": "flower.runtime",
    "runtime.flower_strategy": "flower.strategy",
    "runtime.parts": "runtime.round_parts",
    "runtime.runtime": "rounds.runtime_interface",
    "runtime.stacked.turns": "runtime.stacked.scheduling",
    "runtime.stacked.varying": "runtime.stacked.varying_numbers",
    "runtime.tracing.bound": "runtime.tracing.fast_functions",
    "runtime.tracing.constants": "runtime.tracing.constant_folding",
    "runtime.tracing.joined": "runtime.tracing.concatenations",
    "runtime.tracing.passes": "runtime.tracing.graph_passes",
    "runtime.trial": "runtime.vmap_trial",
    "sampling": "slots.sampling",
    "server": "rounds.server",
    "simulation": "rounds.state",
    "slots.compress.blocks": "slots.compress.blockwise",
    "slots.compress.reset": "slots.compress.error_reset",
    "slots.compress.trigger": "slots.compress.event_trigger",
    "slots.compress.wrap": "slots.compress.wrappers",
    "slots.inner.rates": "slots.inner.lr_schedules",
    "slots.links": "slots.message_check",
    "slots.mixing.kinds": "slots.mixing.graph_kinds",
    "slots.mixing.own": "slots.mixing.own_models",
    "slots.terms": "slots.guarantees",
    "stacked": "runtime.stacked",
    "stacked.join": "cli.stacked",
    "strategy": "slots.strategy",
    "threads": "utils.threads",
    "tracking": "report.tracking",
    "tracking.csv": "report.tracking.csv",
    "trees": "vectors.trees",
    "utils.flattened": "utils.flat_config",
    "utils.lazy": "utils.lazy_imports",
    "version": "utils.version",
    "whole": "utils.checks",
    "wire": "rounds.message_bytes",
}


def present_name(former: str) -> str | None:
    """Return the present name of a former module, None if it has not moved.

    >>> present_name("fedlocal.compress.sparse")
    'fedlocal.slots.compress.sparse'
    """
    package, *parts = former.split(".")
    for length in range(len(parts), 0, -1) if package == "fedlocal" else ():
        if present := MOVED.get(".".join(parts[:length])):
            return ".".join([package, present, *parts[length:]])
    return None


class Forwarding(MetaPathFinder, Loader):
    """Finder and loader of modules by their former names.

    It precedes the other finders. Otherwise the submodules of a former package would be found in
    the folder of the present one, and loaded a second time.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if name == "fedlocal.simulate":
            raise ModuleNotFoundError(
                "fedlocal.simulate is a function; write `from fedlocal import simulate, Result`",
                name=name,
            )
        return ModuleSpec(name, self) if present_name(name) else None

    def create_module(self, spec: ModuleSpec) -> None:
        """See `importlib.abc.Loader`."""

    def exec_module(self, module: ModuleType) -> None:
        """Import the present module and register it under the former name."""
        former = module.__name__
        present = present_name(former)
        assert present is not None
        warnings.warn(f"{former} is now {present}; import that", FutureWarning, stacklevel=2)
        sys.modules[former] = import_module(present)
