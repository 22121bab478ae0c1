import pytest
import torch

from fedlocal.runtime.tracing.backends import as_it_is
from fedlocal.runtime.tracing.fast_functions import FUNCTIONS
from fedlocal.runtime.tracing.trace import record

aten = torch.ops.aten
A, B, C = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.randn(2, 4, 3)
PLACES = torch.tensor([[[0, 1, 1]], [[2, 0, 3]]])

# Arguments without what has a default, and with it.
GIVEN = {
    aten.add.Tensor: [((A, B), {}), ((A, 2.5), {}), ((A, B), {"alpha": -2})],
    aten.addcmul.default: [((A, B, B), {}), ((A, B, B), {"value": -1})],
    aten.bmm.default: [((A, C), {})],
    aten.cat.default: [(([A, B],), {}), (([A, B], 1), {})],
    aten.div.Tensor: [((A, B), {}), ((A, 3), {})],
    aten.gather.default: [((A, 2, PLACES), {})],
    aten.mean.dim: [((A, [1, 2]), {}), ((A, [1], True), {}), ((A, [1]), {"dtype": torch.float64})],
    aten.mm.default: [((A[0], C[0]), {})],
    aten.mul.Tensor: [((A, B), {}), ((A, 2.5), {})],
    aten.neg.default: [((A,), {})],
    aten.permute.default: [((A, [2, 0, 1]), {})],
    aten.relu.default: [((A,), {})],
    aten.reshape.default: [((A, [6, -1]), {})],
    aten.scatter_add.default: [((A, 2, PLACES, B), {})],
    aten.select.int: [((A, 1, 2), {})],
    aten.sigmoid.default: [((A,), {})],
    aten.split_with_sizes.default: [((A, [1, 1]), {}), ((A, [1, 3], 2), {})],
    aten.sub.Tensor: [((A, B), {}), ((A, 2.5), {}), ((A, B), {"alpha": 3})],
    aten.sum.dim_IntList: [
        ((A, [1]), {}),
        ((A, [0, 2], True), {}),
        ((A, [1]), {"dtype": torch.float64}),
    ],
    aten.tanh.default: [((A,), {})],
    aten.transpose.int: [((A, 1, 2), {})],
    aten.unsqueeze.default: [((A, 1), {})],
    aten.where.self: [((A > 0, A, B), {})],
}


@pytest.mark.parametrize("operation", FUNCTIONS, ids=str)
def test_a_function_does_what_the_operation_does(operation):
    for args, kwargs in GIVEN[operation]:
        expected, ours = operation(*args, **kwargs), FUNCTIONS[operation](*args, **kwargs)
        if isinstance(expected, torch.Tensor):
            expected, ours = [expected], [ours]
        for a, b in zip(ours, expected, strict=True):
            assert a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)


def test_a_loss_with_another_default_keeps_its_operation():
    """torch's function sums nothing where the operation takes the mean."""
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    logits, targets = torch.randn(5), torch.rand(5)
    graph, _ = record(loss, (logits, targets))
    assert torch.equal(as_it_is(graph, [])(logits, targets)[0], loss(logits, targets))
