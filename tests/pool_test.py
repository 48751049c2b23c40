"""Graders in killable processes: hangs, deaths, order, and what the processes import."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from r1jax.data.types import Prompt, Rollout
from r1jax.rewards import pool as pool_module
from r1jax.rewards.combine import RewardConfig, combine, grade
from r1jax.rewards.pool import GraderPool

CFG = RewardConfig(random=0.5, overlong_buffer=4, timeout_s=2.0)
HANGS = "9^{9^{9^{9}}}"
SEED, MAX_TOKENS = 3, 16


@pytest.fixture(scope="module")
def graders() -> Iterator[GraderPool]:
    with GraderPool(CFG, SEED, MAX_TOKENS) as pool:
        yield pool


def _rollout(answer: str, sample: int = 0, source: str = "maths") -> Rollout:
    prompt = Prompt("p", "?", "5", source, metadata={"entry_metadata": {}})
    text = f"<think>a</think><answer>{answer}</answer>"
    return Rollout(prompt, sample, np.zeros(sample, np.int32), np.zeros(sample, np.float32), text, "stop")


def _worker_pids(graders: GraderPool) -> list[int]:
    graders.score([_rollout("5")])  # so that the workers are up
    return list(graders._pool._pool_manager.worker_manager.workers)


def test_score_equals_grading_in_this_process_and_keeps_the_order(graders: GraderPool) -> None:
    sources = ("maths", "reasoning_gym:chain_sum")
    rollouts = [_rollout(str(3 + i % 4), sample=i, source=sources[i % 2]) for i in range(32)]
    scored = graders.score(rollouts)
    for rollout, graded in zip(rollouts, scored, strict=True):
        parts = grade(rollout, CFG, SEED, MAX_TOKENS)
        assert (graded.sample, graded.parts, graded.reward) == (rollout.sample, parts, combine(parts, CFG))
        assert graded.logprobs is rollout.logprobs
    assert graders.score([]) == []


def test_trap18_an_answer_that_holds_the_interpreter_lock_is_killed_in_time(graders: GraderPool) -> None:
    graders.score([_rollout("5")])
    start = time.perf_counter()
    hanging, fine = graders.submit(_rollout(HANGS)), graders.submit(_rollout("5"))
    assert fine.result().parts["accuracy"] == 1.0, "one sample must not hold up the others"
    killed = hanging.result()
    assert time.perf_counter() - start < CFG.timeout_s + 3.0
    assert killed.parts["accuracy"] == 0.0 and killed.parts["grader_timeout"] == 1.0
    assert killed.reward == pytest.approx(1.0 + 0.5 * killed.parts["random"]), "its form is graded all the same"


def test_trap35_a_worker_killed_while_grading_costs_one_retry(graders: GraderPool) -> None:
    graders.score([_rollout("5")])
    pending = graders.submit(_rollout(HANGS))
    while not pending._future.running():
        time.sleep(0.01)
    for pid in list(graders._pool._pool_manager.worker_manager.workers):
        os.kill(pid, signal.SIGKILL)
    assert pending.result().parts["grader_timeout"] == 1.0, "the second attempt ran into its own time limit"


def test_trap35_workers_killed_while_idle_are_replaced(graders: GraderPool) -> None:
    for pid in _worker_pids(graders):
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    assert [graded.parts["accuracy"] for graded in graders.score([_rollout("5"), _rollout("6")])] == [1.0, 0.0]


def test_trap35_workers_killed_amid_a_queue_lose_nothing(graders: GraderPool) -> None:
    pids = _worker_pids(graders)
    pending = [graders.submit(_rollout("5", sample=i)) for i in range(3000)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert {grade.result().parts["accuracy"] for grade in pending} == {1.0}


def test_trap35_a_sample_whose_graders_die_twice_is_ungradable(
    graders: GraderPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pool_module, "grade", _die)
    dead = graders.submit(_rollout("5")).result()
    assert (dead.parts["accuracy"], dead.parts["format"], dead.reward) == (None, 1.0, None)
    assert "graders died" in caplog.text


def test_a_grader_that_raises_leaves_the_sample_ungradable_and_says_so(
    graders: GraderPool, caplog: pytest.LogCaptureFixture
) -> None:
    graded = graders.submit(_rollout("5", source="reasoning_gym:no_such_task")).result()
    assert (graded.parts["accuracy"], graded.reward) == (None, None)
    assert "no_such_task" in caplog.text


def test_workers_ignore_interrupts_and_the_accelerator(graders: GraderPool) -> None:
    for pid in _worker_pids(graders):
        os.kill(pid, signal.SIGINT)
    pid = graders._pool.schedule(os.getpid).result()
    assert graders._pool.schedule(os.getenv, ("JAX_PLATFORMS",)).result() == "cpu"
    assert pid in _worker_pids(graders)


def test_workers_import_no_jax_even_when_the_program_does(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import jax\n"
        "from r1jax.rewards.combine import RewardConfig\n"
        "from r1jax.rewards.pool import GraderPool\n"
        "if __name__ == '__main__':\n"
        "    with GraderPool(RewardConfig(workers=1), 0, 8) as graders:\n"
        "        modules = graders._pool.schedule(eval, ('list(__import__(\"sys\").modules)',)).result()\n"
        "    assert 'r1jax.rewards.combine' in modules and 'math_verify' in modules\n"
        "    assert 'jax' not in modules, 'a grader imported jax'\n"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, str(program)], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
