"""Processes that train one cohort together: what one decides, all do.

A cohort over all hosts has its trials on the devices of every process, and each runs the same
program at the same time. The first process alone reads and writes files; what it decides from them
is sent to the others.
"""

from typing import NamedTuple

import jax
import numpy as np

from lstm_jax.arrays import PyTree


class Hosts(NamedTuple):
    """The processes of a run.

    Attributes:
      count: how many there are.
      chief: whether this one decides, reads and writes.
    """

    count: int = 1
    chief: bool = True

    def decided(self, value: PyTree) -> PyTree:
        """The chief's value, host arrays of the same shapes in every process."""
        if self.count == 1:
            return jax.tree.map(np.asarray, value)
        from jax.experimental import multihost_utils

        return multihost_utils.broadcast_one_to_all(value, is_source=self.chief)

    def any(self, value: bool) -> bool:
        """Whether it holds in any process."""
        if self.count == 1:
            return value
        from jax.experimental import multihost_utils

        return bool(np.any(multihost_utils.process_allgather(np.asarray(value))))


def all_hosts() -> Hosts:
    """Every process of `jax.distributed`."""
    return Hosts(jax.process_count(), jax.process_index() == 0)
