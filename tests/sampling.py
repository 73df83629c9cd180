"""What tests of drawn examples share."""

import numpy as np
from scipy import stats


def assert_uniform(values, begin, end):
    """`values` are spread evenly over the whole numbers from `begin` to `end` - 1."""
    values = np.ravel(values)
    assert values.min() == begin
    assert values.max() == end - 1
    assert stats.chisquare(np.bincount(values - begin, minlength=end - begin)).pvalue > 1e-3
