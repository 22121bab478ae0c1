"""Arrivals in continuous time: who comes when, if client i's n-th trip takes away(i, n) seconds."""

import heapq
from collections.abc import Callable, Iterator


def arrivals(num_clients: int, away: Callable[[int, int], float]) -> Iterator[int]:
    """Ids in the order of arrival, for ever; of two at once the lower comes first."""
    queue = [(away(i, 0), i) for i in range(num_clients)]
    heapq.heapify(queue)
    trips = [1] * num_clients
    while True:
        now, i = heapq.heappop(queue)
        yield i
        heapq.heappush(queue, (now + away(i, trips[i]), i))
        trips[i] += 1
