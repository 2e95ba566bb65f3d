"""Buckets of lengths of time, and percentiles out of them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_jobs.histogram import BOUNDS, bucket, percentile


@pytest.mark.parametrize(
    ("seconds", "number"), [(-1, 0), (0, 0), (0.001, 0), (0.0011, 1), (1, 9), (60, 14), (604800, 23), (1e9, 24)]
)
def test_a_length_has_its_bucket(seconds, number):
    assert bucket(seconds) == number


def test_without_lengths_there_is_no_percentile():
    assert percentile({}, 0.5) is None
    assert percentile({3: 0}, 0.5) is None


def test_a_percentile_lies_within_its_bucket():
    assert percentile({9: 10}, 0.5) == 0.75  # half way from 0.5 to 1 s
    assert percentile({9: 99, 14: 1}, 0.99) == 1.0
    assert percentile({24: 1}, 0.5) == BOUNDS[-1]


@given(st.lists(st.floats(0, BOUNDS[-1]), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_right_to_its_bucket(lengths, share):
    counts = Counter(map(bucket, lengths))
    exact = sorted(lengths)[max(0, -int(-len(lengths) * share // 1) - 1)]

    found = percentile(counts, share)

    assert abs(bucket(found) - bucket(exact)) <= 1
