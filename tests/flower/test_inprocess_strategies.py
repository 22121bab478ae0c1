"""Flower's own strategies, unmodified, against the same numbers worked out by hand."""

import gc

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyClientSideFixedClipping,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
)

from fedlocal.flower.inprocess import run_in_process

NODES, DIM, ROUNDS = 7, 6, 3
RNG = np.random.default_rng(0)
START = RNG.standard_normal(DIM)
# Client p always moves its model by MOVES[p]; the last one is far off.
MOVES = RNG.standard_normal((NODES, DIM)) + np.array([0.0] * (NODES - 1) + [100.0])[:, None]
EXAMPLES = np.array([3, 1, 4, 1, 5, 9, 2])
LOSSES = np.array([0.5, 2.0, 1.0, 0.25, 3.0, 1.5, 0.75])


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """Some strategies collect garbage for every reply, up to half a second each time."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


def record_of(vector):
    """The vector as two arrays."""
    return ArrayRecord({"a": Array(vector[:4].reshape(2, 2)), "b": Array(vector[4:])})


def vector_of(record):
    return np.concatenate([array.numpy().ravel() for array in record.values()])


def client(mods=None):
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        partition = context.node_config["partition-id"]
        mu = message.content["config"].get("proximal-mu", 0.0)
        moved = vector_of(message.content["arrays"]) + MOVES[partition] / (1 + mu)
        metrics = {"num-examples": int(EXAMPLES[partition]), "train_loss": LOSSES[partition]}
        records = {"arrays": record_of(moved), "metrics": MetricRecord(metrics)}
        return Message(RecordDict(records), reply_to=message)

    @app.evaluate()
    def evaluate(message, context):
        partition = context.node_config["partition-id"]
        first = float(vector_of(message.content["arrays"])[0])
        metrics = {"num-examples": int(EXAMPLES[partition]), "score": first + partition}
        return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)

    return app


def result_of(strategy, rounds=ROUNDS, app=None):
    server, results = ServerApp(), []

    @server.main()
    def main(grid, context):
        results.append(strategy.start(grid, record_of(START), num_rounds=rounds))

    run_in_process(server, app or client(), num_supernodes=NODES)
    return results[0]


def trained(strategy, rounds=ROUNDS, app=None):
    return vector_of(result_of(strategy, rounds, app).arrays)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


WEIGHTS = EXAMPLES / EXAMPLES.sum()
MEAN_MOVE = WEIGHTS @ MOVES


def test_fedavg_is_the_mean_by_examples():
    result = result_of(FedAvg())
    close(vector_of(result.arrays), START + ROUNDS * MEAN_MOVE)
    for number in range(1, ROUNDS + 1):
        first = (START + number * MEAN_MOVE)[0]
        score = result.evaluate_metrics_clientapp[number]["score"]
        close(score, first + WEIGHTS @ np.arange(NODES))
        close(result.train_metrics_clientapp[number]["train_loss"], WEIGHTS @ LOSSES)


def test_fedavg_leaves_failed_clients_out():
    app, whole = ClientApp(), client()

    @app.train()
    def train(message, context):
        if context.node_config["partition-id"] in (2, 6):
            raise RuntimeError("no power")
        return whole(message, context)

    kept = [0, 1, 3, 4, 5]
    expected = START + EXAMPLES[kept] / EXAMPLES[kept].sum() @ MOVES[kept]
    close(trained(FedAvg(fraction_evaluate=0.0), 1, app), expected)


def test_fedavg_samples():
    """Every round moves by the mean of some three of the clients."""
    moved = trained(FedAvg(fraction_train=3 / NODES, fraction_evaluate=0.0), 1) - START
    trios = [[i, j, k] for i in range(NODES) for j in range(i) for k in range(j)]
    means = [EXAMPLES[t] / EXAMPLES[t].sum() @ MOVES[t] for t in trios]
    assert min(np.abs(mean - moved).max() for mean in means) < 1e-12


def test_fedprox_tells_the_clients_mu():
    close(trained(FedProx(proximal_mu=3.0)), START + ROUNDS * MEAN_MOVE / 4)


def test_fedavgm_adds_momentum():
    velocity, x = np.zeros(DIM), START
    for _ in range(ROUNDS):
        velocity = 0.9 * velocity + MEAN_MOVE
        x = x + 0.5 * velocity
    close(trained(FedAvgM(server_learning_rate=0.5, server_momentum=0.9)), x)


def adagrad(v, g, t):
    return v + g**2, 1.0


def adam(v, g, t):
    return 0.99 * v + 0.01 * g**2, np.sqrt(1 - 0.99 ** (t + 1)) / (1 - 0.9 ** (t + 1))


def yogi(v, g, t):
    return v - 0.01 * g**2 * np.sign(v - g**2), 1.0


@pytest.mark.parametrize(
    ("strategy", "second_moment", "beta"),
    [(FedAdagrad, adagrad, 0.0), (FedAdam, adam, 0.9), (FedYogi, yogi, 0.9)],
)
def test_adaptive_server_steps(strategy, second_moment, beta):
    m, v, x = np.zeros(DIM), np.zeros(DIM), START
    for number in range(1, ROUNDS + 1):
        m = beta * m + (1 - beta) * MEAN_MOVE
        v, scale = second_moment(v, MEAN_MOVE, number)
        x = x + 0.1 * scale * m / (np.sqrt(v) + 1e-3)
    close(trained(strategy(eta=0.1, tau=1e-3)), x)


def test_fedmedian_is_the_median():
    close(trained(FedMedian()), START + ROUNDS * np.median(MOVES, axis=0))


def test_fedtrimmedavg_leaves_the_extremes_out():
    close(trained(FedTrimmedAvg(beta=0.2)), START + ROUNDS * np.sort(MOVES, axis=0)[1:-1].mean(0))


def by_krum(liars):
    """Clients by the sum of squared distances to their NODES - liars - 2 nearest."""
    distances = ((MOVES[:, None] - MOVES[None]) ** 2).sum(-1)
    return np.argsort(np.sort(distances)[:, 1 : NODES - liars - 1].sum(1))


def test_krum_takes_the_most_central_client():
    close(trained(Krum(num_malicious_nodes=1)), START + ROUNDS * MOVES[by_krum(1)[0]])


def test_multikrum_averages_the_central_clients():
    chosen = by_krum(1)[:4]
    move = EXAMPLES[chosen] / EXAMPLES[chosen].sum() @ MOVES[chosen]
    strategy = MultiKrum(num_malicious_nodes=1, num_nodes_to_select=4)
    close(trained(strategy), START + ROUNDS * move)


def test_bulyan_averages_what_is_nearest_to_the_median():
    chosen = MOVES[by_krum(1)[: NODES - 2]]
    nearest = np.argsort(np.abs(chosen - np.median(chosen, axis=0)), axis=0)[: NODES - 4]
    move = np.take_along_axis(chosen, nearest, axis=0).mean(0)
    close(trained(Bulyan(num_malicious_nodes=1)), START + ROUNDS * move)


@pytest.mark.parametrize("q", [0.0, 1.5])
def test_qfedavg_weighs_by_loss(q):
    lipschitz = 1 / 0.1
    gradients = -lipschitz * MOVES
    scales = (LOSSES + 1e-10) ** q
    bounds = q * (LOSSES + 1e-10) ** (q - 1) * (gradients**2).sum(1) + lipschitz * scales
    move = -(scales[:, None] * gradients).sum(0) / bounds.sum()
    close(trained(QFedAvg(client_learning_rate=0.1, q=q)), START + ROUNDS * move)


def test_a_mod_of_flower_clips_what_clients_send():
    strategy = DifferentialPrivacyClientSideFixedClipping(
        FedAvg(fraction_evaluate=0.0),
        noise_multiplier=0.0,
        clipping_norm=0.5,
        num_sampled_clients=NODES,
    )
    clipped = MOVES * (0.5 / np.linalg.norm(MOVES, axis=1))[:, None]
    close(trained(strategy, 1, client(mods=[fixedclipping_mod])), START + WEIGHTS @ clipped)
