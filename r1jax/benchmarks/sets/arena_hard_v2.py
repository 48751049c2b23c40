"""Arena-Hard v2.0: 750 requests, 500 hard ones and 250 of creative writing; read and judged as v0.1 is."""

from r1jax.benchmarks.arena import figures
from r1jax.benchmarks.benchmark import Benchmark
from r1jax.benchmarks.sets.arena_hard import adapt

BENCHMARK = Benchmark(
    "Arena-Hard v2", "judged", "degrees", "arena_hard/v2.0.jsonl", adapt, metric="win_rate", summarize=figures
)
