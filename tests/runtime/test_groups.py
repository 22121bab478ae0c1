import numpy as np
import torch

from fedlocal.runtime.group_size import CPU_BYTES, group_size, groups, peak_bytes
from fedlocal.runtime.tracing.trace import record


def test_groups_are_as_equal_as_can_be():
    sizes = [len(group) for group in groups(np.arange(100), 64)]
    assert sizes == [50, 50]
    assert [len(g) for g in groups(np.arange(7), 3)] == [3, 2, 2]
    assert np.array_equal(np.concatenate(groups(np.arange(7), 3)), np.arange(7))


def test_size_follows_the_memory():
    x = torch.zeros(10, 4)

    def size(executor, need):
        return group_size(executor, 10, lambda: need, x)

    assert size("auto", 1) == size("vectorised", CPU_BYTES) == 10
    assert size("auto", CPU_BYTES // 3) == size("chunked", CPU_BYTES // 3) == 3
    assert size("auto", 2 * CPU_BYTES) == size("sequential", 1) == 1


def test_nothing_is_measured_where_nothing_depends_on_it():
    def never():
        raise AssertionError

    x = torch.zeros(4)
    assert group_size("vectorised", 9, never, x) == 9
    assert group_size("sequential", 9, never, x) == 1
    assert group_size("auto", 1, never, x) == 1


def test_peak_counts_what_is_alive_at_once_and_views_never():
    x = torch.rand(100)

    def chain(x):
        a = x + 1  # 400 bytes
        b = a.reshape(10, 10).T  # a view
        c = b * 2  # 400 bytes beside a
        d = c.exp()  # a is gone
        return d.sum()

    graph, _ = record(chain, (x,))
    assert peak_bytes(graph) == 800


def test_parts_of_a_split_are_views():
    def halves(x):
        a, b = torch.split(x + 1, 50)
        return a * b

    graph, _ = record(halves, (torch.rand(100),))
    assert peak_bytes(graph) == 600
