"""Traffic, memory and grading of a step of RL on many hosts, reckoned from measurements, as Markdown tables.

    ./launch_local.sh python experiments/scaling.py          half a minute; docs/scaling.md has its tables

The step is the paper's: 8,192 rollouts of up to 32,768 tokens, 16 updates, DeepSeek-V3's 671B parameters. Measured on
this machine: bytes that are gathered of a rollout, bytes of a row of the batch, the host's work for a window of decode
steps, and grading. The rest are the assumptions of `Assumed`.
"""

import dataclasses
import pickle
import time
from types import SimpleNamespace

import numpy as np

from r1jax.core.shares import Shares
from r1jax.data.batching import pad_rollouts
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation.rollouts import numbers_of
from r1jax.graders.config import GraderConfig
from r1jax.inference.decode import Sampled
from r1jax.inference.session import Request, Session
from r1jax.io.tables import markdown_table
from r1jax.models.config import Truncation
from r1jax.rewards.config import RewardConfig
from r1jax.rewards.grader_pool import GraderPool

HOSTS = (8, 64, 256)
ROLLOUTS, GROUP, LONGEST, MEAN, UPDATES = 8192, 16, 32_768, 8_000, 16
PARAMETERS = 671e9
STATE_BYTES = 4 + 4 + 4 + 4  # of a parameter: weight, two moments, reference, float32
CORES = 100  # of a host that grade
WINDOW = 64
WORDS = "Let us see what follows from the first equation, and then check it. "


@dataclasses.dataclass(frozen=True)
class Assumed:
    """What is not measured.

    Attributes:
        network: bytes a second of a host's network.
        disk: bytes a second that a host writes to shared storage.
        code_s: processor seconds to grade a program with its tests.
    """

    network: float = 12.5e9
    disk: float = 1e9
    code_s: float = 1.0


def rollout(sample: int, tokens: int = MEAN) -> Rollout:
    """A graded rollout of so many tokens, with the parts of the paper's last stage."""
    prompt = Prompt(f"question-{sample}", "What is x?", "5", "maths", ids=tuple(range(200)))
    text = f"<think>{WORDS * (tokens // 16)}</think><answer>5</answer>"
    ids, logprobs = np.arange(tokens, dtype=np.int32), np.zeros(tokens, np.float32)
    parts = {"accuracy": 1.0, "format": 1.0, "language": 0.98, "model/helpfulness": 0.5}
    return Rollout(prompt, sample, ids, logprobs, text, "stop", 1.0, parts, "right", "5")


def gathered_bytes() -> float:
    """Of a rollout, to every host."""
    few, many = (len(pickle.dumps([numbers_of(rollout(i, 200)) for i in range(n)])) for n in (32, 96))
    return (many - few) / 64


def batch_bytes() -> float:
    """Of a token's place in the host's batch, with the log-probs under policy and reference."""
    batch = pad_rollouts([rollout(i, 500) for i in range(4)], np.zeros(4), 64)
    arrays = [getattr(batch, field.name) for field in dataclasses.fields(batch)]
    held = sum(x.nbytes for x in arrays if isinstance(x, np.ndarray) and x.base is None)
    return held / batch.tokens.size + 8


def window_seconds(slots: int) -> float:
    """The host's work for a window in which every slot is busy, beside waiting for the device; of one of 64 hosts."""
    sampled = Sampled(
        np.zeros((WINDOW, slots // 64), np.int32),
        np.zeros((WINDOW, slots // 64), np.float32),
        np.ones((WINDOW, slots), bool),
        np.zeros((WINDOW, slots), bool),
        None,
    )
    own = (
        SimpleNamespace(
            shape=(WINDOW, slots),
            dtype=x.dtype,
            addressable_shards=[SimpleNamespace(index=(slice(None), slice(0, slots // 64)), data=x)],
        )
        for x in (sampled.tokens, sampled.logprobs)
    )
    sampled = dataclasses.replace(sampled, **dict(zip(("tokens", "logprobs"), own, strict=True)))
    programs = SimpleNamespace(
        cfg=SimpleNamespace(slots=slots, bucket=512, prefill_rows=64),
        shares=Shares(tuple(range(64))),
        window_tokens=WINDOW,
        reads_used=True,
        to_decode_layout=lambda params: params,
        idle=lambda length: SimpleNamespace(cache=SimpleNamespace(length=length)),
        decode=lambda params, slots_, truncates, likelihood: (slots_, sampled),
        max_stop_ids=8,
    )
    session = Session(programs, {})
    for i in range(slots):
        session.add(Request((1, 2, 3), (0,), LONGEST, Truncation(1.0, 0, 1.0), (2,)), i * 64 // slots)
    session._fill = lambda: None
    session._running = [queue.popleft() for queue in session._waiting for _ in range(slots // 64)]
    for slot, sequence in enumerate(session._running):
        sequence.slot = slot
    session.advance()
    began = time.monotonic()
    for _ in range(5):
        session.advance()
    return (time.monotonic() - began) / 5


def grade_seconds() -> float:
    """Processor seconds to grade a maths answer after a thought of the mean length."""
    with GraderPool(RewardConfig(graders=GraderConfig(workers=1)), 0, LONGEST) as graders:
        graders.score([rollout(0)])
        began = time.monotonic()
        graders.score([rollout(i) for i in range(32)])
        return (time.monotonic() - began) / 32


def gib(count: float) -> str:
    """Bytes in a unit that a person reads."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def main() -> None:
    assumed = Assumed()
    numbers, place, grade = gathered_bytes(), batch_bytes(), grade_seconds()
    slots = 8192
    window = window_seconds(slots)
    measured = [
        ("gathered to every host of a rollout", f"{numbers:.0f} B"),
        ("of a token's place in the batch", f"{place:.0f} B"),
        (f"host's work for a window of {WINDOW} steps with {slots:,} slots", f"{1000 * window:.0f} ms"),
        (f"grading a maths answer after {MEAN:,} tokens", f"{1000 * grade:.1f} ms"),
    ]
    print("\n".join(markdown_table(("measured", ""), measured)), end="\n\n")
    rows = []
    for hosts in HOSTS:
        own = ROLLOUTS / hosts
        moved = ROLLOUTS * numbers
        texts = own * MEAN * (8 + 4.5)
        rows.append(
            (
                str(hosts),
                f"{own:.0f}",
                f"{gib(moved)}, {1000 * moved / assumed.network:.1f} ms",
                gib(2 * ROLLOUTS * LONGEST * 4),
                gib(texts + own * LONGEST * place),
                gib(ROLLOUTS * MEAN * 12.5 + ROLLOUTS * LONGEST * place),
                f"{own * grade / CORES:.2f} s",
                f"{own * assumed.code_s / CORES:.1f} s",
                f"{PARAMETERS * STATE_BYTES / hosts / assumed.disk:.0f} s",
            )
        )
    header = (
        "hosts",
        "rollouts a host",
        "gathered a step to each host",
        "log-probs gathered before",
        "host memory",
        "the same before",
        "grading maths",
        "grading programs",
        "a checkpoint",
    )
    print("\n".join(markdown_table(header, rows)))


if __name__ == "__main__":
    main()
