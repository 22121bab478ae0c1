"""A property that only a rare target has keeps batches from being padded."""

import torch
from torch import nn

import fedlocal
from strategies import local_sgd

CLASSES = 60


def test_the_weight_of_one_rare_class_is_noticed():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(130, 4, generator=generator, dtype=torch.float64)
    y = torch.arange(130) % CLASSES
    clients = [(x[:3], y[:3]), (x[3:50], y[3:50]), (x[50:], y[50:])]
    model = nn.Linear(4, CLASSES).double()
    for rare in (1, 30, 47):
        weight = torch.ones(CLASSES, dtype=torch.float64)
        weight[rare] = 9.0
        loss, options = nn.CrossEntropyLoss(weight=weight), {"rounds": 2, "batch_size": 16}
        ends = [
            fedlocal.simulate(
                model, clients, local_sgd(0.1, 4), loss=loss, runtime=runtime, **options
            ).params
            for runtime in ("loop", "vmapped")
        ]
        assert torch.allclose(*ends, rtol=0, atol=1e-12)
