"""Grader processes: results of graders and custom rewards that hang, crash, exhaust memory or cannot grade."""

import dataclasses
import logging
import runpy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jobs
import planted
import pytest
from jobs import GENEROUS_S, Clock, alive, noted, until
from steps import forget, steps

from r1jax.config import ConfigError, parse
from r1jax.core import process_tree
from r1jax.data.types import Prompt, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.rewards import grader_pool as pool_module
from r1jax.rewards import workers as workers_module
from r1jax.rewards.combine import combine, grade, grade_and_count
from r1jax.rewards.config import CustomReward, RewardConfig
from r1jax.rewards.grader_pool import GraderPool
from r1jax.rewards.workers import Workers, WorkersFailed

CFG = RewardConfig(random=0.5, overlong_buffer=4, graders=GraderConfig(timeout_s=GENEROUS_S, memory_mb=512))
SHORT_TIMEOUT = dataclasses.replace(CFG, graders=dataclasses.replace(CFG.graders, timeout_s=0.5))
SEED, MAX_TOKENS = 3, 16
SPEED = runpy.run_path(str(Path(__file__).parents[1] / "experiments" / "grader_speed.py"))


@pytest.fixture(scope="module")
def graders() -> Iterator[GraderPool]:
    with GraderPool(CFG, SEED, MAX_TOKENS) as pool:
        pool.score([_rollout("5")])  # so that the workers are up
        yield pool


def _rollout(answer: str, sample: int = 0, source: str = "maths") -> Rollout:
    prompt = Prompt("p", "?", "5", source, metadata={"entry_metadata": {}})
    text = f"<think>a</think><answer>{answer}</answer>"
    return Rollout.of_text(prompt, text, sample, tokens=sample)


def test_score_equals_grading_in_this_process_and_keeps_the_order(graders: GraderPool) -> None:
    sources = ("maths", "reasoning_gym:chain_sum")
    rollouts = [_rollout(str(3 + i % 4), sample=i, source=sources[i % 2]) for i in range(32)]
    for rollout, graded in zip(rollouts, graders.score(rollouts), strict=True):
        parts, expected = grade(rollout, CFG, SEED, MAX_TOKENS)
        assert (graded.sample, graded.parts, graded.verdict, graded.answer) == (
            rollout.sample,
            parts,
            expected.verdict,
            expected.answer,
        )
        assert graded.reward == combine(parts, CFG)
        assert graded.logprobs is rollout.logprobs
    assert graders.score([]) == []


@pytest.mark.parametrize(
    "fault, score, verdict",
    [
        ("hang", 0.0, "timeout"),
        ("grow", 0.0, "memory"),
        ("crash", 0.0, "crash"),
        ("killed", None, "ungradable"),
        ("no_such", None, "ungradable"),
    ],
)
def test_trap18_trap35_what_becomes_of_a_grader_is_told_apart_and_the_rest_of_the_reward_stays(
    graders: GraderPool, monkeypatch: pytest.MonkeyPatch, fault: str, score: float | None, verdict: str
) -> None:
    monkeypatch.setattr(pool_module, "grade_and_count", getattr(planted, fault, grade_and_count))
    if fault == "hang":
        monkeypatch.setattr(graders, "cfg", SHORT_TIMEOUT)
    rollout = _rollout("5", source="no_such_grader" if fault == "no_such" else "maths")
    graded = graders.submit(rollout).result()
    assert (graded.parts["accuracy"], graded.verdict) == (score, verdict)
    assert graded.parts["format"] == 1.0 and graded.parts["random"] in (0.0, 1.0), "its form is graded all the same"
    assert graded.reward == (None if score is None else pytest.approx(1.0 + 0.5 * graded.parts["random"]))


def test_a_prompts_id_is_printed_escaped(graders: GraderPool, caplog: pytest.LogCaptureFixture) -> None:
    rollout = _rollout("5", source="no_such_grader")
    prompt = dataclasses.replace(rollout.prompt, id="red \x1b[31m")
    assert graders.submit(dataclasses.replace(rollout, prompt=prompt)).result().verdict == "ungradable"
    assert r"cannot grade prompt red \x1b[31m" in caplog.text and "\x1b" not in caplog.text


def test_trap35_graders_that_cannot_start_are_an_error_and_no_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "run_jobs", planted.crash)
    with GraderPool(CFG, SEED, MAX_TOKENS) as pool, pytest.raises(WorkersFailed, match="exit code -11"):
        pool.score([_rollout("5")])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The processes that were started during the test."""
    workers, start = [], Workers._start

    def counted(self: Workers) -> object:
        workers.append(start(self))
        return workers[-1]

    monkeypatch.setattr(Workers, "_start", counted)
    return workers


def test_trap18_of_512_samples_5_percent_pathological_cost_at_most_the_clean_time_and_a_limit(
    graders: GraderPool, monkeypatch: pytest.MonkeyPatch, started: list[object]
) -> None:
    """Time is counted in steps: at most twice the clean ones', and 10,000 a pathological sample on average."""
    monkeypatch.setattr(pool_module, "_DEMOTE_AFTER_S", GENEROUS_S)  # on a busy machine anything may take longer
    clean, mixed = SPEED["clean"](512), SPEED["mixed"](512, SPEED["PATHOLOGICAL"])

    def cost(rollouts: list[Rollout]) -> int:
        forget()
        return sum(steps(grade, rollout, CFG, SEED, MAX_TOKENS) for rollout in rollouts)

    assert cost(mixed) <= 2 * cost(clean) + 26 * 10_000
    graders.score(clean[:8])
    present = set(graders._workers.pids())
    started.clear()
    graded = graders.score(mixed)
    assert {r.parts["accuracy"] for r in graded} == {0.0}
    assert {r.verdict for r in graded} <= {"wrong", "too_complex", "malformed", "no_answer"}, "all are seen through"
    assert present <= set(graders._workers.pids()) and len(present) + len(started) <= CFG.graders.workers


def test_trap18_what_hangs_in_earnest_costs_the_others_its_patience_and_a_new_process(
    graders: GraderPool, monkeypatch: pytest.MonkeyPatch, started: list[object], tmp_path: Path
) -> None:
    clock, log, demoted = Clock(), tmp_path / "log", []
    monkeypatch.setattr(workers_module, "time", clock)
    monkeypatch.setattr(process_tree, "processor_seconds", clock.processor_seconds)
    monkeypatch.setattr(pool_module, "grade_and_count", planted.grade_or_hang)
    handle_deadline = Workers._handle_deadline

    def counted(self: Workers, worker: object, now: float) -> None:
        demoted.append(worker)
        handle_deadline(self, worker, now)

    monkeypatch.setattr(Workers, "_handle_deadline", counted)
    rollouts = SPEED["mixed"](512, ("hang",))
    for rollout in rollouts:
        rollout.prompt.metadata["log"] = log
    graders.submit(rollouts[1]).result()
    present = len(graders._workers.pids())
    started.clear(), demoted.clear(), log.unlink()
    pending = [graders.submit(rollout) for rollout in rollouts]
    others = [grade.result() for i, grade in enumerate(pending) if i % 20]
    assert not any(grade._grade.done() for grade in pending[::20]), "the others waited for a time limit"
    hanging = {pid for name, pid in noted(log) if int(name) % 20 == 0}
    assert len(hanging) == 26 and all(map(alive, hanging)), "each has a process of its own"
    # A process for each that was demoted: those that hang, and no others unless the machine is very busy.
    assert present + len(started) <= len(demoted) + CFG.graders.workers
    clock.ahead += CFG.graders.timeout_s
    for _ in range(2):  # between one result and the next, deadlines are handled
        graders._workers.submit(int, timeout_s=GENEROUS_S).result()
    assert [grade.result().verdict for grade in pending[::20]] == ["timeout"] * 26
    assert {graded.verdict for graded in others} == {"wrong"}
    assert Counter(int(name) for name, _ in noted(log)) == Counter(range(512)), "none is graded twice"
    assert not any(map(alive, hanging))


def test_identifying_languages_demotes_no_worker() -> None:
    """A worker that had to read the language model first would be demoted."""
    thought = "<think>These are more than enough words for a language to be told.</think><answer>5</answer>"
    rollouts = [dataclasses.replace(_rollout("5", sample=i), text=thought) for i in range(32)]
    with GraderPool(RewardConfig(language=1.0, target_language="en"), SEED, MAX_TOKENS) as pool:

        def models_read() -> set[int]:
            futures = [pool._workers.submit(jobs.models_read, timeout_s=GENEROUS_S) for _ in range(8)]
            return {future.result() for future in futures}

        assert models_read() == {1}, "the server has read it, and workers begin with it"
        graded = pool.score(rollouts)
        assert models_read() == {1}
    assert {r.parts["language"] for r in graded} == {1.0}


def test_ordinary_answers_after_a_page_of_thought_take_few_steps(graders: GraderPool) -> None:
    """Answers as in MATH; `experiments/grader_speed.py` measures how many are graded a second."""
    rollouts = SPEED["ordinary"](400)
    assert {r.verdict for r in graders.score(rollouts)} == {"right"}
    for rollout in rollouts[:200]:  # fills caches
        grade(rollout, CFG, SEED, MAX_TOKENS)
    assert sum(steps(grade, rollout, CFG, SEED, MAX_TOKENS) for rollout in rollouts[200:]) / 200 < 40_000


def test_a_custom_reward_is_a_function_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def brevity(rollout):\n    return -len(rollout.text) / 100\n")
    section = {"custom": ({"function": f"{tmp_path}/mine.py:brevity", "weight": 2.0},)}
    cfg = parse(RewardConfig, section)
    with GraderPool(cfg, SEED, MAX_TOKENS) as graders:
        [graded] = graders.score([_rollout("5")])
    length = len(graded.text) / 100
    assert graded.parts["custom/brevity"] == pytest.approx(-length)
    assert graded.reward == pytest.approx(2.0 - 2 * length)


def test_a_missing_file_or_key_is_an_error_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = parse(RewardConfig, {"custom": ({"function": f"{tmp_path}/nothing.py:f"},)})
    with pytest.raises(ConfigError, match=r"the reward custom/f, .*nothing\.py"), GraderPool(missing, SEED, MAX_TOKENS):
        pass
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    judge = {"weight": 1.0, "base_url": "http://localhost:1", "model": "m", "api_key_env": "NO_SUCH_KEY"}
    with pytest.raises(ValueError, match="NO_SUCH_KEY"), GraderPool(parse(RewardConfig, {"judge": judge}), 0, 1):
        pass


def test_an_open_request_whose_grading_hangs_still_has_no_accuracy(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def hang(rollout):\n    while True: pass\n")
    custom = CustomReward(f"{tmp_path / 'mine.py'}:hang")
    cfg = RewardConfig(custom=(custom,), graders=GraderConfig(workers=1, timeout_s=0.5, memory_mb=512))
    with GraderPool(cfg, SEED, MAX_TOKENS) as pool:
        [graded] = pool.score([_rollout("Hello!", source="open")])
    assert (graded.parts, graded.reward, graded.verdict) == ({"format": 1.0, custom.part: None}, None, "open")


# Function of hostile_rewards.py -> its score of each sample; None: always None. Each text's final part is "5".
FATES = {
    **dict.fromkeys(
        (
            "raises",
            "nan",
            "text",
            "huge",
            "exits",
            "exits_at_once",
            "kills_itself",
            "crashes",
            "interrupts",
            "unheard_of",
            "takes_memory",
            "recurses",
        )
    ),
    **dict.fromkeys(("letters", "leaves_a_daemon", "leaves_threads", "closes", "writes"), [1.0] * 4),
    "forks": [0.0, 1.0, 2.0, 3.0],
    "forks_and_is_late": [0.0, 1.0, 2.0, 3.0],
    "replaces_builtins": [0.5] * 4,
    "replaces_for_others": [0.0, 1.0, 1.0, 1.0],
    "divides_by_zero_once": [0.0, None, 2.0, 1.5],
}


def hostile(*names: str) -> RewardConfig:
    rewards = tuple(CustomReward(f"{Path(__file__).with_name('hostile_rewards.py')}:{name}") for name in names)
    graders = dataclasses.replace(CFG.graders, workers=1)
    return dataclasses.replace(CFG, custom=rewards, graders=graders)


def rollouts_for(log: Path) -> list[Rollout]:
    rollouts = [_rollout(str(4 + sample % 2), sample) for sample in range(4)]
    for rollout in rollouts:
        rollout.prompt.metadata["log"] = log
    return rollouts


@pytest.fixture(scope="module")
def graded_by_all(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Rollout], list[Rollout], Path, str]:
    """Rollouts before and after grading by all hostile rewards at once, the log of what these started, the warnings."""
    log, warnings = tmp_path_factory.mktemp("hostile") / "log", []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())
    logging.getLogger("r1jax.rewards.grader_pool").addHandler(handler)
    rollouts = rollouts_for(log)
    with GraderPool(hostile(*FATES), SEED, MAX_TOKENS) as pool:
        graded = pool.score(rollouts)
        assert not any(alive(pid) for _, pid in noted(log)), "what a call has started ends with it"
    logging.getLogger("r1jax.rewards.grader_pool").removeHandler(handler)
    return rollouts, graded, log, "\n".join(warnings)


@pytest.mark.parametrize("name", FATES)
def test_trap35_whatever_a_custom_reward_does_is_its_own_part(graded_by_all, name: str) -> None:
    _, graded, _, warnings = graded_by_all
    assert [r.parts[f"custom/{name}"] for r in graded] == (FATES[name] or [None] * 4)
    assert (f"part custom/{name} is ungradable: " in warnings) == (None in (FATES[name] or [None]))


def test_trap35_whatever_custom_rewards_do_no_other_part_changes_and_nothing_is_left(graded_by_all) -> None:
    rollouts, graded, log, warnings = graded_by_all
    for rollout, after in zip(rollouts, graded, strict=True):
        parts, expected = grade(rollout, CFG, SEED, MAX_TOKENS)
        assert {name: part for name, part in after.parts.items() if not name.startswith("custom/")} == parts
        assert (after.sample, after.verdict, after.answer) == (rollout.sample, expected.verdict, expected.answer)
        assert after.reward is None
    assert {name for name, _ in noted(log)} == {"late", "daemon"} and "\x1b" not in warnings


def test_trap18_a_custom_reward_that_hangs_is_killed_with_its_children_and_costs_its_own_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, log = Clock(), tmp_path / "log"
    monkeypatch.setattr(workers_module, "time", clock)
    monkeypatch.setattr(process_tree, "processor_seconds", clock.processor_seconds)
    with GraderPool(hostile("hangs", "letters"), SEED, MAX_TOKENS) as pool:
        pending = [pool.submit(rollout) for rollout in rollouts_for(log)[:2]]
        for each in pending:
            each._grade.result(), each._custom["custom/letters"].result()
        assert not any(each._custom["custom/hangs"].done() for each in pending), "the others waited for a time limit"
        for count in (2, 4):  # one after the other, with its child
            until(lambda count=count: len(noted(log)) == count)
            clock.ahead += CFG.graders.timeout_s
            pool._custom[0][2]._wake_up()
            if count == 2:
                pending[0]._custom["custom/hangs"].exception(GENEROUS_S)
        graded = [each.result() for each in pending]
    assert [r.parts["accuracy"] for r in graded] == [0.0, 1.0] and {r.parts["custom/letters"] for r in graded} == {1.0}
    assert [(r.parts["custom/hangs"], r.reward) for r in graded] == [(None, None)] * 2
    assert not any(alive(pid) for _, pid in noted(log))


@pytest.mark.parametrize(
    "top, message",
    [
        ("1 / 0", "does not load: ZeroDivisionError"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os._exit(3)", "the last with exit code 3"),
        ("", "no function 'f'"),
    ],
)
def test_a_custom_reward_that_cannot_be_loaded_is_an_error_at_the_start(tmp_path: Path, top: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(top)
    cfg = parse(RewardConfig, {"custom": ({"function": f"{tmp_path}/mine.py:f"},)})
    message = rf"the reward custom/f, .*mine\.py:f: .*{message}"
    with pytest.raises(ConfigError, match=message), GraderPool(cfg, SEED, MAX_TOKENS):
        pass


def test_trap35_what_a_custom_rewards_file_changes_when_it_is_loaded_stays_in_its_own_processes(tmp_path: Path) -> None:
    """Processes that the file itself has started live as long as the workers."""
    (tmp_path / "mine.py").write_text(
        "import os, subprocess\n"
        "from r1jax.rewards import format_rewards as form\n"
        "form.well_formed = lambda _: 5.0\n"
        "helper = subprocess.Popen(['sleep', '1000'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(helper.pid))\n"
        "def f(rollout):\n    subprocess.Popen(['sleep', '1000'])\n    os.kill(helper.pid, 0)\n    return 0.25\n"
    )
    rewards = (*hostile("letters").custom, CustomReward(f"{tmp_path / 'mine.py'}:f"))
    with GraderPool(dataclasses.replace(hostile(), custom=rewards), SEED, MAX_TOKENS) as pool:
        graded = pool.score(rollouts_for(tmp_path / "log"))
        helper = int((tmp_path / "pid").read_text())
        assert alive(helper)
    assert [(r.parts["accuracy"], r.parts["format"]) for r in graded] == [(0.0, 1.0), (1.0, 1.0)] * 2
    assert {r.parts["custom/f"] for r in graded} == {0.25} and {r.parts["custom/letters"] for r in graded} == {1.0}
    assert not alive(helper)


def test_the_counts_of_a_text_come_from_the_process_that_graded_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = _rollout("Wait, <think>让我 check</think> again: 4", source="maths:x")
    with GraderPool(CFG, SEED, MAX_TOKENS) as pool:
        [graded] = pool.score([rollout])
    monkeypatch.setattr("r1jax.data.types.count_text", None)  # nothing is counted here any more
    assert graded.counts == graded.text_counts()
    assert graded.counts.reflections > 0 and set(graded.counts.scripts) == {"han", "latin"}
