"""An app of the shape that Flower's quickstarts have: PyTorch, FedAvg, real data."""

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fedlocal.flower.inprocess import run_in_process

IMAGES, LABELS = load_digits(return_X_y=True)
FEATURES, TARGETS = torch.tensor(IMAGES / 16, dtype=torch.float32), torch.tensor(LABELS)
CONFIG = {"num-server-rounds": 3, "fraction-train": 0.5, "local-epochs": 3, "lr": 0.3}

server_app = ServerApp()
client_app = ClientApp()


def network():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))


def part_of(context):
    """Every n-th example: nine tenths of them for training, the rest for evaluation."""
    partition, parts = context.node_config["partition-id"], context.node_config["num-partitions"]
    features, targets = FEATURES[partition::parts], TARGETS[partition::parts]
    cut = len(targets) // 10
    return TensorDataset(features[cut:], targets[cut:]), (features[:cut], targets[:cut])


def accuracy_of(model, features, targets):
    with torch.no_grad():
        return float((model.eval()(features).argmax(1) == targets).double().mean())


@client_app.train()
def train(message, context):
    model = network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    data, _ = part_of(context)
    optimizer = torch.optim.SGD(model.parameters(), lr=message.content["config"]["lr"])
    for _ in range(context.run_config["local-epochs"]):
        for features, targets in DataLoader(data, batch_size=16, shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(features), targets)
            loss.backward()
            optimizer.step()
    metrics = MetricRecord({"train_loss": loss.item(), "num-examples": len(data)})
    arrays = ArrayRecord(model.state_dict())
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@client_app.evaluate()
def evaluate(message, context):
    model = network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    _, (features, targets) = part_of(context)
    metrics = {"accuracy": accuracy_of(model, features, targets), "num-examples": len(targets)}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)


@server_app.main()
def main(grid, context):
    config = context.run_config
    strategy = FedAvg(fraction_train=config["fraction-train"])
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(network().state_dict()),
        train_config=ConfigRecord({"lr": config["lr"]}),
        num_rounds=config["num-server-rounds"],
    )
    context.state["arrays"] = result.arrays
    context.state["accuracy"] = MetricRecord(
        {str(t): m["accuracy"] for t, m in result.evaluate_metrics_clientapp.items()}
    )


@pytest.fixture(scope="module")
def finished():
    return run_in_process(server_app, client_app, 8, CONFIG)


def test_the_model_learns(finished):
    accuracy = finished.state["accuracy"]
    assert list(accuracy) == ["1", "2", "3"]
    assert accuracy["3"] > 0.8
    model = network()
    model.load_state_dict(finished.state["arrays"].to_torch_state_dict())
    assert accuracy_of(model, FEATURES, TARGETS) > 0.8


def test_the_same_run_again_gives_the_same_model(finished):
    again = run_in_process(server_app, client_app, 8, CONFIG)
    assert again.state == finished.state
    other = run_in_process(server_app, client_app, 8, CONFIG, seed=1)
    assert other.state != finished.state
