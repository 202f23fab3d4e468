"""The benchmark's own arithmetic."""

from __future__ import annotations

import pytest
from bench.against import interval


@pytest.mark.parametrize(("count", "low", "high"), [(5, 1, 5), (9, 2, 8), (21, 6, 16), (100, 40, 61)])
def test_the_interval_of_a_median_is_that_of_the_sign_test(count: int, low: int, high: int) -> None:
    """As in tables of distribution-free confidence intervals, at 95 %; five values have none, and get the extremes."""
    assert interval([float(n) for n in reversed(range(1, count + 1))]) == (low, high)
