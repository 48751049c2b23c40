"""Graders in the place of the pool of tests: the second half of each group of four is right."""

import dataclasses
from types import SimpleNamespace

from r1jax.data.types import Rollout


class Graders:
    """The methods of `r1jax.rewards.grader_pool.GraderPool` that a stage calls."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def usage(self):
        return {}

    def submit(self, r: Rollout):
        right = float(r.sample >= 2)
        graded = dataclasses.replace(r, reward=right, parts={"accuracy": right, "format": 0.0})
        return SimpleNamespace(result=lambda scores: graded)
