"""Keys that nothing reads, and keys that the run fills in itself, are refused; built in process."""

import pytest

from fedlocal.config.build import build
from fedlocal.config.compose import compose
from fedlocal.config.errors import ConfigError
from partitions.storage import digest
from tests.cli.test_cli_run import GROUPS

SMALL = "dataset=quadratic K=4 H=2 rounds=2"


def refused(line: str) -> str:
    with pytest.raises(ConfigError) as caught:
        build(compose(f"{SMALL} {line}").cfg)
    return str(caught.value)


FIXED = "is no setting: how an option is made is fixed; leave it out"
EXACT = {
    "+foo=1": "nothing reads the key foo; leave it out",
    "+partition_sed=7": (
        "nothing reads the key partition_sed (did you mean partition?); leave it out"
    ),
    "+aplha=1 partition=dirichlet": (
        "nothing reads the key aplha (did you mean partition.alpha?); leave it out"
    ),
    "loss.delta=2": "no option of loss is chosen, so it has no keys; choose one: loss=...",
    "+loss.delta=2": "loss.delta is read by no option; choose one with loss=...",
    "+period.at=2": "period.at is read by no option; choose one with period=...",
    "+experiment.x=2": "experiment.x is read by no option; choose one with experiment=...",
    "+model.input_shape=[3]": (
        "model.input_shape is filled in by the run: it comes from the data; leave it out"
    ),
    "+partition.labels=[3]": (
        "partition.labels is filled in by the run: it comes from the data; leave it out"
    ),
    "+partition.num_clients=3": (
        "partition.num_clients is filled in by the run: the number of clients is K; leave it out"
    ),
    "loss=squared_error +loss.output=1": (
        "loss.output is filled in by the run: it comes from the data; leave it out"
    ),
    "loss=auto +loss.classes=true": (
        "loss.classes is filled in by the run: it comes from the data; leave it out"
    ),
    "partition._partial_=false": f"partition._partial_=False {FIXED}",
    "+goal._partial_=true": f"goal._partial_=True {FIXED}",
    "+strategy._convert_=none": f"strategy._convert_=none {FIXED}",
    "+dataset._args_=[1]": f"dataset._args_=[1] {FIXED}",
    "+evaluate.foo=1": "evaluate has no setting foo; it takes every, train_examples, batch_size",
    "+goal.targt=1": (
        "goal has no setting targt (did you mean target?); it takes metric, target, stop,"
        " patience, min_change"
    ),
    "+checkpoint.foo=1": "checkpoint has no setting foo; it takes every, keep, strict",
    "+tracking.foo=1": "tracking has no setting foo; it takes none",
    "+lr.foo=1": "lr must be a number, got {'foo': 1}",
    "dtype=[1]": "dtype must be text, got [1]",
    "partition.seed=abc": "partition.seed must be a whole number, got 'abc'",
    "partition.seed=-1": "partition.seed must be a whole number >= 0 or null, got -1",
    "partition=redundant partition@partition.base=iid partition.base.seed=3": (
        "partition.base.seed=3 would do nothing: a base is split by the seed of what is built on"
        " it; give partition.seed=3"
    ),
    "period=constant strategy.period=3": (
        "strategy.period=3 would do nothing, as the group period goes before it; leave one of the"
        " two out"
    ),
}


@pytest.mark.parametrize("line", EXACT)
def test_a_key_that_nothing_reads(line):
    assert refused(line) == EXACT[line]


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "experiment"])
def test_no_group_takes_an_unknown_key(group):
    option = {"period": "period=constant ", "rate": "rate=constant ", "loss": "loss=mse "}
    assert "foo" in refused(f"{option.get(group, '')}+{group}.foo=1")


@pytest.mark.parametrize(
    "line, place",
    [
        ("uplink=topk +uplink.ratio=0.1", "uplink.compressor.ratio"),
        ("uplink=topk ratio=0.1", "uplink.compressor.ratio"),
        ("momentum=0.9", "strategy.momentum"),
        ("patience=3", "goal.patience"),
        ("uplink=topk downlink=topk ratio=0.1", "uplink.compressor.ratio or downlink.compressor"),
    ],
)
def test_a_key_in_the_wrong_place_is_shown_the_right_one(line, place):
    assert f"(did you mean {place}" in refused(line)


def test_a_key_of_the_top_level_that_something_reads():
    job = build(compose(f"{SMALL} +base=0.02 'lr=${{base}}'").cfg)
    assert job.simulation.strategy.inner.lr == 0.02


def test_a_key_that_only_the_name_of_the_folder_reads(cli, here):
    given = (*SMALL.split(), "+tag=a", "hydra.run.dir=runs/${tag}")
    assert cli(*given).code == 0
    assert (here / "runs/a/summary.json").exists()
    assert cli(*SMALL.split(), "+tag=a").refused == (
        "fedlocal: nothing reads the key tag; leave it out"
    )


def split(line: str) -> str:
    return digest(build(compose(f"dataset=digits K=4 {line}").cfg).partition)


@pytest.mark.parametrize("scheme", ["dirichlet", "redundant partition@partition.base=dirichlet"])
def test_the_seed_of_the_split(scheme):
    one = split(f"partition={scheme} seed=7")
    assert split(f"partition={scheme} seed=0 partition.seed=7") == one
    assert split(f"partition={scheme} seed=3 partition.seed=7") == one
    assert split(f"partition={scheme} seed=3") != one


def test_the_seed_of_the_split_leaves_the_training_its_own():
    jobs = [
        build(compose(f"dataset=synthetic partition=dirichlet partition.seed=7 seed={seed}").cfg)
        for seed in (0, 1)
    ]
    assert [job.simulation.seed for job in jobs] == [0, 1]
    assert not jobs[0].simulation.start.equal(jobs[1].simulation.start)


def test_a_link_that_the_strategy_would_leave_aside(monkeypatch):
    from fedlocal.config import components
    from fedlocal.slots.compress import TopK

    cfg = compose(f"{SMALL} strategy=minibatch_sgd uplink=topk").cfg
    make = components.instantiate

    def with_link(node, *args, **kwargs):
        made = make(node, *args, **kwargs)
        if node is not cfg.strategy:
            return made
        return lambda **given: components.replace(made(**given), uplink=TopK(0.5))

    monkeypatch.setattr(components, "instantiate", with_link)
    with pytest.raises(ValueError) as caught:
        components.strategy_of(cfg)
    assert str(caught.value) == (
        "strategies.minibatch_sgd brings its own uplink, so uplink= would do nothing; leave"
        " uplink=identity, or give the compressor to the strategy"
    )
