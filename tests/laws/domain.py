"""What laws are drawn from. The draws are fixed: `tests/conftest.py`."""

from hypothesis import settings
from hypothesis import strategies as st

from tests.problems import RUNTIMES, least_squares

ROUNDS = 5

# A law runs two simulations or more, so it is drawn less often than other properties.
law = settings(max_examples=settings.default.max_examples // 10)  # type: ignore[union-attr]

# Few values of each: sizes are what compiles, and numbers are what varies.
periods = st.sampled_from([1, 2, 5])
long_periods = st.sampled_from([2, 5])
rates = st.floats(0.01, 0.03)
momenta = st.floats(0.1, 0.9)
seeds = st.integers(0, 10_000)
runtimes = st.sampled_from(RUNTIMES)


def clients(least: int, most: int) -> st.SearchStrategy:
    """Least squares of `least` to `most` clients of different sizes."""
    return st.builds(
        lambda sizes, seed: least_squares(tuple(sizes), dim=4, seed=seed),
        st.lists(st.integers(4, 9), min_size=least, max_size=most),
        seeds,
    )


problems = clients(1, 5)
crowds = clients(3, 5)
