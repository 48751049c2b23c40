"""Process rewards: a loss by hand, steps that score alike in a prefix, labels by completions, training and its use."""

import itertools
import json
import pathlib
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import merged, rows, timeless

from r1jax import config
from r1jax.data.batching import pad_steps
from r1jax.data.step_inputs import step_ids_of
from r1jax.data.step_labels import LabelledSteps, StepLabels, StepLabelsConfig
from r1jax.data.types import Prompt, Rollout
from r1jax.inference.config import Reading
from r1jax.inference.reward_scoring import RewardModel, save
from r1jax.io import jsonl
from r1jax.losses.process_reward import step_log_loss
from r1jax.models.io import save_model
from r1jax.stages.process_reward import labelling, training
from r1jax.stages.process_reward.config import LabelStepsConfig, ProcessRewardConfig, check_continued
from r1jax.stages.process_reward.training import agreement, reader
from r1jax.stages.workdir import owned
from r1jax.text.steps import split_steps

# What Orbax leaves behind of a read that it broke off.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROOT = pathlib.Path(__file__).resolve().parent.parent
READING = Reading("response", "dialogue", max_tokens=64, steps=("; ",))
SHIPPED = ROOT / "r1jax" / "shipped_models" / "mini-r1-zero"


def rollout(text: str, question: str = "2 + 2 = ?") -> Rollout:
    return Rollout.of_text(Prompt("q", question, "4", "maths:x", f"User: {question} Assistant:"), text)


# Loss and batch.


def test_the_loss_by_hand():
    scores, targets = np.float32([0.0, 2.0, -1.0, 9.0]), np.float32([1.0, 0.25, 0.0, 0.0])
    weights = np.float32([0.5, 0.25, 0.25, 0.0])
    loss, metrics = step_log_loss(scores, targets, weights)
    log = np.log1p(np.exp([-0.0, -2.0, -1.0]))
    by_hand = 0.5 * log[0] + 0.25 * (0.25 * log[1] + 0.75 * (log[1] + 2.0)) + 0.25 * log[2]
    assert float(loss) == pytest.approx(by_hand, rel=1e-6)
    assert float(metrics["accuracy"]) == pytest.approx(0.5 * 0.5 + 0.25 * 0 + 0.25 * 1)


def test_only_the_ends_of_labelled_steps_count():
    batch = pad_steps([([5, 6, 7, 8], [1, 3], [1.0, 0.0]), ([9], [0], [1.0])], 4, 8)
    assert batch.tokens.shape == (4, 8) and batch.lengths.tolist() == [4, 1, 1, 1]
    assert np.argwhere(batch.weights).tolist() == [[0, 1], [0, 3], [1, 0]]
    assert batch.weights.sum() == pytest.approx(1) and batch.targets[0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]


# What the model reads.


def ids_of(tokenizer, text: str, limit: int = 64):
    return step_ids_of(tokenizer, "User: ? Assistant:", split_steps(text, READING.steps), limit)


def test_the_ids_up_to_a_steps_end_are_those_of_the_prefix_alone(tokenizer):
    text = "first 2+7=9; then 9-4=5;  so the answer is 5; yes"
    whole = ids_of(tokenizer, text)
    steps = split_steps(text, READING.steps)
    assert len(whole.ends) == len(steps) == 4 and not whole.unread
    for end, prefix in zip(whole.ends, itertools.accumulate(steps), strict=True):
        alone = ids_of(tokenizer, prefix)
        assert whole.ids[: end + 1] == alone.ids and alone.ends[-1] == end
    assert "".join(tokenizer.decode(whole.ids).split()) == "".join(f"User: ? Assistant:{text}".split())


def test_steps_past_the_limit_are_unread_and_listed_steps_read_as_written_ones(tokenizer):
    each = ids_of(tokenizer, "one; two; three four five six seven eight; nine", 24)
    assert each.unread >= 1 and len(each.ends) + each.unread == 4 and len(each.ids) <= 24
    read = reader(READING, tokenizer, "")
    assert read("?", ["one", "two", "three"]) == read("?", ["one;", " two;", " three"])
    before = ids_of(tokenizer, "one; two; three")
    assert read("?", ["one", "two", "three"])[:2] == (before.ids, before.ends)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny, tiny_params, tokenizer, mesh1) -> pathlib.Path:
    """A base, an untrained process reward model, and labelled steps: one is right where it says "please"."""
    folder = tmp_path_factory.mktemp("process")
    save_model(folder / "base", tiny_params, tiny, tokenizer)
    head = {"head": jnp.asarray(np.random.default_rng(0).normal(size=tiny.embed_dim) / 4, jnp.float32)}
    save(folder / "untrained", {**tiny_params, **head}, tiny, tokenizer, READING)
    rng = random.Random(0)

    def row(number: int) -> dict:
        labels = [rng.random() < 0.5 for _ in range(rng.randint(1, 4))]
        steps = [f"{rng.choice(['so', 'then'])} {'please' if label else 'kindly'}" for label in labels]
        return {"id": str(number), "prompt": f"Ask {number}.", "steps": steps, "labels": [int(x) for x in labels]}

    jsonl.write(folder / "steps.jsonl", map(row, range(160)))
    return folder


def test_a_response_scores_as_its_steps_do_and_a_prefix_as_in_the_whole(folder, mesh1):
    responses = ["one; two please; three", "one; two please;", "one;", "four"]
    model = RewardModel(folder / "untrained", mesh1)
    chances = model.step_chances([rollout(text) for text in responses])
    assert [len(each) for each in chances] == [3, 2, 1, 1]
    np.testing.assert_allclose(chances[0][:2], chances[1], rtol=1e-5)
    np.testing.assert_allclose(chances[1][:1], chances[2], rtol=1e-5)
    assert model.score([rollout(text) for text in responses]) == pytest.approx([min(each) for each in chances])
    mean = RewardModel(folder / "untrained", mesh1, over_steps="mean")
    assert mean.score([rollout(responses[0])])[0] == pytest.approx(np.mean(chances[0]))
    assert mean.score([rollout("")]) == [0.0]


def test_padding_past_the_limit_hides_nothing(folder, mesh1):
    [chances] = RewardModel(folder / "untrained", mesh1).step_chances([rollout("one; " * 60)])
    assert len(chances) == 60 and chances[-1] == 0.0 < chances[0]


def test_sharded_scores_are_those_of_one_device(folder, mesh1, mesh8):
    responses = [rollout(f"one; {'two ' * n}; three") for n in range(5)]
    one, eight = (RewardModel(folder / "untrained", mesh).step_chances(responses) for mesh in (mesh1, mesh8))
    for a, b in zip(one, eight, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


# The file of labels.


def read_chars(prompt: str, steps) -> tuple[list[int], list[int], int]:
    ends = list(itertools.accumulate(len(step) for step in steps))
    return list(range(ends[-1])), [end - 1 for end in ends], 0


def labels_of(path, *lines, **settings):
    jsonl.write(path, lines)
    cfg = StepLabelsConfig(str(path), held_out_share=0.0, **settings)
    return StepLabels(cfg, 0, read_chars).take(0, len(lines))


def test_null_labels_teach_nothing_and_shares_are_soft_targets(tmp_path):
    row = {"prompt": "p", "steps": ["aa", "b", "c"], "labels": [1, None, 0], "shares": [0.75, None, 0.25]}
    [hard] = labels_of(tmp_path / "a.jsonl", row)
    assert (hard.ends, hard.targets, hard.chars) == ([1, 3], [1.0, 0.0], [2, 4])
    [soft] = labels_of(tmp_path / "b.jsonl", row, target="soft")
    assert soft.targets == [0.75, 0.25]
    after = {"prompt": "p", "steps": ["a", "b", "c"], "labels": [1, 0, 1]}
    [first] = labels_of(tmp_path / "c.jsonl", after, first_wrong=True)
    assert first.targets == [1.0, 0.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"steps": ["a"], "labels": [1]}, "'prompt'"),
        ({"prompt": "p", "steps": [], "labels": []}, "'steps' is .*, should be a list of texts, at least one"),
        ({"prompt": "p", "steps": ["a"], "labels": [1, 0]}, "'labels' is 2 of them, should be .* each of the 1 steps"),
        ({"prompt": "p", "steps": ["a"], "labels": [2]}, r"'labels\[0\]' is 2, should be true, false, null"),
        ({"prompt": "p", "steps": ["a"]}, "'labels' is None"),
    ],
)
def test_a_bad_row_is_refused_by_its_line(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        labels_of(tmp_path / "a.jsonl", {"prompt": "p", "steps": ["a"], "labels": [1]}, row)


def test_configs_that_cannot_work_are_refused():
    data = {"tasks": ({"name": "gcd"},)}
    with pytest.raises(ValueError, match=r"separators=.* should list what separates steps"):
        config.parse(LabelStepsConfig, {"stage": "step_labels", "data": data, "num_prompts": 1, "separators": ()})
    with pytest.raises(ValueError, match=r"reading\.steps=.* should list what separates steps"):
        given = {"stage": "process_reward", "base": "b", "data": {"path": "x"}, "reading": {"sees": "response"}}
        config.parse(ProcessRewardConfig, given)
    with pytest.raises(ValueError, match="sees='summary' with steps"):
        Reading("summary", steps=("\n",))
    endpoint = {"base_url": "http://x/v1", "model": "m"}
    chat = {"stage": "step_labels", "data": data, "num_prompts": 1, "endpoint": endpoint}
    with pytest.raises(ValueError, match=r"config\.data\.chat=None with an endpoint"):
        check_continued(config.parse(LabelStepsConfig, chat))


# Agreement.


def test_agreement_by_hand():
    examples = [
        LabelledSteps("a", "p", [], [0, 1, 2], [1.0, 0.0, 0.0], [1, 2, 3]),
        LabelledSteps("b", "q", [], [0, 1], [1.0, 1.0], [1, 2]),
        LabelledSteps("c", "r", [], [0, 1], [0.0, 0.0], [1, 2]),
    ]
    scores = [np.float32([2, -1, 1]), np.float32([1, 1]), np.float32([1, -1])]
    row = agreement(scores, examples)
    assert row["n"] == 7 and row["accuracy"] == pytest.approx(5 / 7) and row["right_share"] == pytest.approx(3 / 7)
    assert row["first_error"] == 0.5 and row["without_error"] == 1.0  # a is found at its second step, c is not
    assert [(each["step"], each["n"]) for each in row["by_position"]] == [(1, 3), (2, 3), (3, 1)]
    assert row["by_position"][0]["accuracy"] == pytest.approx(2 / 3)


# Training.


TRAINING = {
    "stage": "process_reward",
    "base": "",
    "data": {"path": "", "held_out_share": 0.3},
    "reading": {"sees": "response", "template": "dialogue", "max_tokens": 64, "steps": ("; ",)},
    "batch_size": 16,
    "epochs": 0,
    "num_steps": 40,
    "batch_bucket": 64,
    "optimizer": {"learning_rate": 1e-2, "warmup_steps": 3},
    "evaluation": {"every": 20},
    "checkpoint": {"every": 10, "keep": 2},
}


def train(folder, workdir, mesh, **changes) -> pathlib.Path:
    tree = merged(TRAINING, base=str(folder / "base"), data__path=str(folder / "steps.jsonl"), **changes)
    cfg = config.parse(ProcessRewardConfig, tree)
    with jax.set_mesh(mesh), owned(workdir):
        return training.run(cfg, workdir, mesh, pathlib.Path(cfg.base))


@pytest.fixture(scope="module")
def trained(folder, mesh1) -> pathlib.Path:
    train(folder, folder / "run", mesh1)
    return folder / "run"


def test_a_planted_label_is_learnt_step_by_step_and_the_folder_scores_so(trained, mesh1):
    before, during, after = rows(trained / "evals.jsonl")
    assert [row["step"] for row in (before, during, after)] == [0, 20, 40]
    assert before["accuracy"] < 0.8 and after["accuracy"] > 0.95 and after["auroc"] > 0.98
    assert after["calibration_error"] < 0.1 and after["first_error"] > 0.9 and after["without_error"] > 0.9
    model = RewardModel(trained / "model", mesh1)
    [chances] = model.step_chances([rollout("so please; then kindly; so please", "Ask 1000.")])
    assert chances[0] > 0.8 and chances[1] < 0.2 and chances[2] > 0.8


def test_a_resumed_run_is_the_same_as_one_that_was_not_stopped(trained, folder, mesh1, monkeypatch):
    workdir, real = folder / "stopped", training.batch_at

    def stop(cfg, data, step):
        if step == 25:
            raise KeyboardInterrupt
        return real(cfg, data, step)

    monkeypatch.setattr(training, "batch_at", stop)
    with pytest.raises(KeyboardInterrupt):
        train(folder, workdir, mesh1)
    monkeypatch.setattr(training, "batch_at", real)
    train(folder, workdir, mesh1)
    first, second = ([timeless(row) for row in rows(each / "metrics.jsonl")] for each in (trained, workdir))
    assert first == second
    assert (workdir / "evals.jsonl").read_text() == (trained / "evals.jsonl").read_text()


def test_microbatches_and_a_mesh_change_it_by_rounding_alone(trained, folder, mesh8):
    train(folder, folder / "sharded", mesh8, num_steps=3, microbatches=2, evaluation__every=0)
    losses = [[row["loss"] for row in rows(each / "metrics.jsonl")[:3]] for each in (trained, folder / "sharded")]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-4)


# Labels by completions.


LABELS = {
    "stage": "step_labels",
    "model": str(SHIPPED),
    "data": {"tasks": ({"name": "chain_sum", "options": {"max_terms": 3, "max_digits": 1}},), "held_out_share": 0.1},
    "separators": (", ", "，", ". "),
    "num_prompts": 3,
    "held_out": 1,
    "solutions": 3,
    "completions": 3,
    "block": 2,
    "sampling": {"max_new_tokens": 80, "slots": 16, "bucket": 256, "truncation": {"temperature": 1.0}},
    "graders": {"workers": 1, "timeout_s": 60.0},
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, mesh1) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("labels") / "run"
    labelling.run(config.parse(LabelStepsConfig, LABELS), workdir, mesh1)
    return workdir


@pytest.mark.usefixtures("shared_engines")
def test_labels_are_shares_of_right_completions_and_the_last_ones_grades(labelled):
    labels = rows(labelled / "labels.jsonl")
    assert labels and len({(row["prompt"], "".join(row["steps"])) for row in labels}) == len(labels)
    for row in labels:
        assert len(row["steps"]) == len(row["labels"]) == len(row["shares"]) == len(row["completions"]) + 1
        assert row["shares"][-1] == (row["verdict"] == "right")
        assert all(label == (share > 0) for label, share in zip(row["labels"], row["shares"], strict=True))
        assert split_steps("".join(row["steps"]), LABELS["separators"]) == row["steps"]
    completions = [row for each in labelled.glob("block_*/completions/samples.jsonl") for row in rows(each)]
    solutions = ["".join(row["steps"]) for row in labels]
    # Each completion is a whole response that begins as a solution does.
    starts = {
        prefix.rstrip()
        for text in solutions
        for prefix in itertools.accumulate(split_steps(text, LABELS["separators"])[:-1])
    }
    assert completions and all(any(row["text"].startswith(start) for start in starts) for row in completions)
    assert json.loads((labelled / "summary.json").read_text())["questions"] == 4


@pytest.mark.usefixtures("shared_engines")
def test_a_right_completion_counts_only_within_the_tokens_of_one_response(labelled, tmp_path, mesh1):
    """All that was sampled is there; a limit of 80 tokens for both together becomes one that nothing keeps."""
    shutil.copytree(labelled, tmp_path / "run")
    for path in (tmp_path / "run").glob("block_*/completions/samples.jsonl"):
        jsonl.write(path, [{**row, "tokens": 80} for row in rows(path)])
    labelling.run(config.parse(LabelStepsConfig, LABELS), tmp_path / "run", mesh1)
    before, after = (rows(each / "labels.jsonl") for each in (labelled, tmp_path / "run"))
    assert any(share for row in before for share in row["shares"][:-1])
    for one, other in zip(before, after, strict=True):
        assert other["shares"] == [0.0] * (len(one["shares"]) - 1) + one["shares"][-1:]


@pytest.mark.usefixtures("shared_engines")
def test_a_killed_labelling_goes_on_and_ends_the_same(labelled, tmp_path, mesh1):
    for name in ("block_00000/solutions", "block_00000/completions"):
        for file in ("setup.json", "samples.jsonl", "grades.jsonl"):
            lines = (labelled / name / file).read_text().splitlines(keepends=True)
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
            kept = lines if file == "setup.json" else lines[: len(lines) // 2]
            (tmp_path / name / file).write_text("".join(kept))
    labelling.run(config.parse(LabelStepsConfig, LABELS), tmp_path, mesh1)
    assert (tmp_path / "labels.jsonl").read_text() == (labelled / "labels.jsonl").read_text()
