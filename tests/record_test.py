"""Records of samples and costs that earlier versions filled unchecked: lines that are no sample are drawn again."""

import json

from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.evaluation.record import Record
from r1jax.inference.usage_log import Usage
from r1jax.io import jsonl


def test_trap71_a_record_that_holds_what_is_no_text_is_mended(tmp_path) -> None:
    record = Record(tmp_path, {}, "grader")
    for i in range(2):
        prompt = Prompt(f"p{i}", "?", "", "open:x")
        record.keep_sample(Rollout.of_text(prompt, "5", tokens=3))
    good = {"id": "p0", "sample": 0, "text": "5", "finish": "stop", "tokens": 2}
    for change in (
        {"text": [{"type": "text", "text": "5"}]},
        {"text": None},
        {"text": "\ud83d"},
        {"tokens": None},
        {"tokens": 2**40},
        {"finish": ["stop"]},
        {"sample": None},
    ):
        with (tmp_path / "samples.jsonl").open("a") as file:
            file.write(json.dumps(good | {"id": "p9"} | change) + "\n")
    with (tmp_path / "samples.jsonl").open("a") as file:
        file.write('[1]\n"p0"\n{}\n')
    again = Record(tmp_path, {}, "grader")
    assert again.corrupted == 10 and set(again.samples) == {("p0", 0), ("p1", 0)}


def test_a_count_of_costs_that_holds_what_is_no_number_is_read(tmp_path) -> None:
    path = tmp_path / "usage.jsonl"
    for count in (5, None, "7", [7], {"a": 1}, -3, 2.5):
        jsonl.append(path, {"id": "p", "sample": 0, "prompt_tokens": 1, "completion_tokens": count})
    with path.open("a") as file:
        file.write("[]\n{}\n")
    usage = Usage(path)
    assert (usage.replies, usage.prompt_tokens, usage.completion_tokens) == (7, 7, 5)


def test_a_rollout_of_text_has_its_number_of_tokens_and_takes_no_memory_for_them() -> None:
    rollout = Rollout.of_text(Prompt("p", "?", "", "open:x"), "5", 2, "length", tokens=10**12)
    assert (rollout.text, rollout.sample, rollout.finish) == ("5", 2, "length")
    assert len(rollout.ids) == 10**12 and rollout.ids[-1] == -1 and rollout.ids.dtype == "int32"
    assert len(rollout.logprobs) == 0 and len(Rollout.of_text(rollout.prompt, "").ids) == 0


def test_the_parts_of_other_processes_are_taken_in_once_and_what_a_kill_left_of_them(tmp_path):
    prompts = [Prompt(f"p{i}", "?", "1", "maths") for i in range(3)]
    parts = [Record(tmp_path, {}, "grader", part) for part in range(3)]
    for part, prompt in zip(parts, prompts, strict=True):
        part.keep_sample(Rollout.of_text(prompt, "1", tokens=3))
        part.keep_grade((prompt.id, 0), Grade(1.0, "correct", "1"), True)
    assert sorted(path.name for path in tmp_path.glob("samples*")) == [
        "samples.1.jsonl",
        "samples.2.jsonl",
        "samples.jsonl",
    ]
    parts[0]._add_sample(parts[1].samples["p1", 0])  # killed between the addition and the deletion
    with (tmp_path / "grades.2.jsonl").open("a") as file:
        file.write('{"id": "p2", "sam')
    again = Record(tmp_path, {}, "grader")
    assert [outcome.id for outcome in again.outcomes(prompts, 1)] == ["p0", "p1", "p2"]
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 3
    assert not list(tmp_path.glob("*.[0-9].jsonl"))
    assert len(Record(tmp_path, {}, "newer grader").samples) == 3
