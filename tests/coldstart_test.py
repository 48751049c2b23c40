"""Cold start: each way to a chain of thought, what is kept of it, and runs that were stopped."""

import json
import pathlib
import re
import shutil

import pytest
from chat_server import ChatServer, content, serve
from tiny_run import merged, rows

from r1jax import config, config_files
from r1jax.config import ConfigError
from r1jax.io import jsonl
from r1jax.stages.cold_start import candidates, cold_start
from r1jax.stages.cold_start.cold_start import ColdStartConfig
from r1jax.text.chat import join_response

ROOT = pathlib.Path(__file__).parent.parent
MODEL = ROOT / "r1jax" / "shipped_models" / "base-83324bcaf08f"
QUESTIONS = [
    *({"id": f"en-{a}", "prompt": f"What is {a} plus {a + 1}?", "answer": str(2 * a + 1)} for a in range(4)),
    {"id": "zh-4", "prompt": "请问4加5等于多少？", "answer": "9", "language": "zh"},
]
TINY = {
    "stage": "coldstart",
    "questions": {"path": "", "held_out_share": 0.0},
    "marker": "||",
    "held_out_share": 0.0,
    "readable": {"min_chars": 8},
    "sampling": {"max_new_tokens": 24, "slots": 8, "prefill_rows": 8, "bucket": 256},
    "graders": {"workers": 1},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """Questions, and two steps of an R1-Zero run."""
    folder = tmp_path_factory.mktemp("data")
    jsonl.write(folder / "questions.jsonl", QUESTIONS)
    jsonl.write(folder / "zero" / "rollouts" / "step_000002.jsonl", [rollout(0, "3", "wrong, it is 3", right=False)])
    jsonl.write(
        folder / "zero" / "rollouts" / "step_000010.jsonl",
        [
            rollout(1, "3", "so 1+2=3. so 1+2=3. that is 3"),
            rollout(2, "5", "先算 2+3, so it is 5", sample=1),
            rollout(3, "7", "3+4 is 8, no", right=False),
            rollout(3, "7", "let me see, 3+4=7", sample=1),
            rollout(3, "7", "let me see,  3+4=7", sample=2),
            rollout(3, "7", "let me see, 3+4=", sample=3, finish="length"),
            rollout(4, "9", "先算，4+5=9，所以是9"),
        ],
    )
    return folder


def rollout(question: int, final: str, thought: str, sample=0, right=True, finish="stop") -> dict:
    """A line as `stages.rl` keeps it."""
    asked = QUESTIONS[question]
    return {
        "id": f"{asked['id']}-7",
        "question": asked["prompt"],
        "answer": asked["answer"],
        "source": "maths:x",
        "sample": sample,
        "text": "",
        "thought": thought,
        "final": final,
        "correct": float(right),
        "verdict": "",
        "reward": 1.0,
        "parts": {},
        "finish": finish,
        "num_tokens": 9,
        "well_formed": finish == "stop",
    }


def settings(folder: pathlib.Path, **changes) -> ColdStartConfig:
    tree = merged(TINY, **{"questions__path": str(folder / "questions.jsonl"), **changes})
    return config.parse(ColdStartConfig, tree)


def table(workdir: pathlib.Path) -> dict:
    return json.loads((workdir / "table.json").read_text())


# Prompting a checkpoint


@pytest.fixture(scope="module")
def prompted(tmp_path_factory, data, mesh1) -> pathlib.Path:
    """The shipped base asked in both ways, as a base model is."""
    workdir = tmp_path_factory.mktemp("prompted")
    cold_start.run(base_settings(data), workdir, mesh1)
    return workdir


def base_settings(data: pathlib.Path, **changes) -> ColdStartConfig:
    examples = str(ROOT / "configs" / "coldstart_mini.jsonl")
    return settings(
        data,
        model=str(MODEL),
        chat=False,
        few_shot={"samples": 2, "examples": examples},
        direct={"samples": 3, "instruction": "User: {prompt} Assistant: <think>"},
        **changes,
    )


def test_a_base_model_is_asked_by_plain_examples_and_by_an_instruction(prompted):
    few = {row["id"]: row["text"] for row in rows(prompted / "few_shot" / "questions.jsonl")}
    direct = {row["id"]: row["text"] for row in rows(prompted / "direct" / "questions.jsonl")}
    assert len(few) == len(direct) == 5 and few.keys() == direct.keys()
    for id_, text in few.items():
        shown, label = ("问：", "答：") if id_.startswith("zh") else ("Q: ", "A: ")
        assert text.startswith(shown) and text.endswith(label + "<think>")
        assert text.count(shown) == 2 and text.count("</think>") == 1
        assert direct[id_].startswith("User: ") and direct[id_].endswith(" Assistant: <think>")
    assert len(rows(prompted / "few_shot" / "samples.jsonl")) == 10
    assert len(rows(prompted / "direct" / "samples.jsonl")) == 15
    counts = table(prompted)
    assert {name: row["found"] for name, row in counts["found"].items()} == {"few_shot": 10, "direct": 15}
    for row in counts["found"].values():
        assert row["kept"] + sum(row["dropped"].values()) == row["found"]
    assert sum(row["kept"] for row in counts["found"].values()) == counts["kept"]


def test_what_was_drawn_is_not_drawn_again_and_gives_the_same_bytes(prompted, data, mesh1, tmp_path):
    again = shutil.copytree(prompted, tmp_path / "again")
    samples = again / "direct" / "samples.jsonl"
    kept = samples.read_bytes().splitlines(keepends=True)[:4]
    samples.write_bytes(b"".join(kept) + b'{"id": "en-1-2", "sam')  # killed in the middle of a line
    (again / "samples.jsonl").unlink()
    before = (again / "few_shot" / "samples.jsonl").read_bytes()
    cold_start.run(base_settings(data), again, mesh1)
    assert (again / "few_shot" / "samples.jsonl").read_bytes() == before
    assert samples.read_bytes().startswith(b"".join(kept))
    for name in ("samples.jsonl", "table.json", "review_out.jsonl"):
        assert (again / name).read_bytes() == (prompted / name).read_bytes()


def test_samples_drawn_otherwise_are_refused(prompted, data, mesh1, tmp_path):
    other = shutil.copytree(prompted, tmp_path / "other")
    with pytest.raises(ConfigError, match=r"asked: .*\n  seed: 0 -> 1"):
        cold_start.run(
            base_settings(data, few_shot__shots=1, direct__instruction="{prompt}", seed=1, few_shot__examples=""),
            other,
            mesh1,
        )


def test_r1_zero_can_be_sampled_from_its_checkpoint(data, mesh1, tmp_path):
    cfg = settings(data, zero={"model": str(MODEL), "samples": 2}, count=3)
    cold_start.run(cfg, tmp_path, mesh1)
    assert len(rows(tmp_path / "zero" / "samples.jsonl")) == 6
    assert all("A conversation between User" in row["text"] for row in rows(tmp_path / "zero" / "questions.jsonl"))
    assert table(tmp_path)["found"]["zero"]["found"] == 6
    # Its folder is a record, too.
    found = candidates.from_record(tmp_path / "zero")
    assert len(found) == 6 and {each.prompt.answer for each in found} <= {row["answer"] for row in QUESTIONS}


# A teacher behind a server


def teach(body: dict) -> str:
    """Thinks aloud and answers; the sum 1 + 2 it gets wrong. A rewriting of what was right stays right."""
    text = content(body)
    question = text.rpartition("Question:")[2] if "Notes:" in text else text
    a, b = map(int, re.findall(r"(\d+)(?: plus |加)(\d+)", question)[-1])
    answer = a + b if a != 1 else 4
    if "草稿：" in text:
        return join_response(f"先算{a}加{b}，得到{answer}。", f"结果是{answer}。")
    if "Q: " not in text and "问：" not in text and "请" in text:
        return join_response(f"先看题目，{a}加{b}，结果是{answer}。再检查一遍，没有错。", f"结果是{answer}。")
    if "问：" in text:
        return "我不知道。"
    if "Notes:" in text:
        answer = re.search(r"Final answer:\n(\d+)", text)[1]
        return join_response(f"The two numbers are {a} and {b}. Together they make {answer}.", f"It is {answer}.")
    return join_response(f"Let me see: {a} and {b} make {answer}. I check it once more.", f"So it is {answer}.")


@pytest.fixture
def teacher():
    with serve(teach) as server:
        yield server


def served(data: pathlib.Path, server: ChatServer, **changes) -> ColdStartConfig:
    endpoint = {
        "base_url": server.url,
        "model": "m",
        "api_key_env": "",
        "retries": 0,
        "in_flight": 2,
        "price_per_million_input": 1.0,
    }
    return settings(
        data,
        endpoint=endpoint,
        few_shot={"samples": 2},
        direct={"samples": 1},
        zero={"record": str(data / "zero"), "from_step": 5, "rewrite": "teacher"},
        **changes,
    )


def test_a_teacher_behind_a_server_is_asked_in_every_way(data, teacher, mesh1, tmp_path):
    cold_start.run(served(data, teacher), tmp_path, mesh1)
    samples = rows(tmp_path / "samples.jsonl")
    found = table(tmp_path)["found"]
    # Of each question's two examples-led samples, alike here, one is kept; one question is answered wrong, and the
    # Chinese one not in the form.
    assert found["few_shot"] == {
        "found": 10,
        "kept": 3,
        "dropped": {"says what another one says": 3, "wrong": 2, "not in the form": 2},
    }
    assert found["direct"] == {"found": 5, "kept": 1, "dropped": {"says what another one says": 3, "wrong": 1}}
    assert found["zero"]["kept"] == 3 and found["zero"]["found"] == 7
    by_way = {way: [row for row in samples if row["provenance"]["way"] == way] for way in found}
    sample = by_way["few_shot"][0]
    assert list(sample) == ["id", "prompt", "response", "answer", "source", "language", "provenance"]
    assert sample["source"] == "maths:questions.jsonl" and sample["language"] == "en"
    assert sample["provenance"] == {
        "way": "few_shot",
        "teacher": {"endpoint": teacher.url, "name": "m"},
        "seed": 0,
        "sample": 0,
        "question": sample["id"].split(":")[1],
    }
    assert re.fullmatch(r"\|\| Let me see: .* \|\| So it is \d\.", sample["response"])
    assert [row["language"] for row in by_way["direct"]] == ["zh"] and "再检查" in by_way["direct"][0]["response"]
    assert {row["provenance"]["step"] for row in by_way["zero"]} == {10}
    assert all(row["provenance"]["rewritten_by"] == {"endpoint": teacher.url, "name": "m"} for row in by_way["zero"])
    usage = json.loads((tmp_path / "usage.json").read_text())
    assert usage["replies"] == len(teacher.asked) and usage["cost"] == pytest.approx(len(teacher.asked) * 100 / 1e6)


def test_trap33_a_server_that_breaks_down_is_asked_for_the_rest_alone(data, teacher, mesh1, tmp_path, capsys):
    cold_start.run(served(data, teacher), tmp_path / "whole", mesh1)
    whole = len(teacher.asked)
    # The addresses of two servers differ, and with them stamps: the one server breaks down after eight requests more.
    teacher.answer = lambda body: teach(body) if len(teacher.asked) <= whole + 8 else 503
    cold_start.run(served(data, teacher), tmp_path / "stopped", mesh1)
    assert "samples are missing; the same command draws them again" in capsys.readouterr().out
    usage = json.loads((tmp_path / "stopped" / "usage.json").read_text())
    assert usage["replies"] == 8
    teacher.answer, teacher.asked[:] = teach, []
    cold_start.run(served(data, teacher), tmp_path / "stopped", mesh1)
    assert len(teacher.asked) == whole - 8
    for name in ("samples.jsonl", "table.json", "review_out.jsonl", "usage.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    # Nothing is left to ask.
    cold_start.run(served(data, teacher), tmp_path / "stopped", mesh1)
    assert len(teacher.asked) == whole - 8


def test_more_questions_add_to_what_is_there(data, teacher, mesh1, tmp_path):
    cold_start.run(served(data, teacher, count=2), tmp_path, mesh1)
    few = len(teacher.asked)
    assert len(rows(tmp_path / "few_shot" / "samples.jsonl")) == 4
    cold_start.run(served(data, teacher), tmp_path, mesh1)
    assert len(rows(tmp_path / "few_shot" / "samples.jsonl")) == 10 and len(teacher.asked) == few + 9


def test_examples_never_show_the_question_itself_and_have_to_suffice(data, mesh1, tmp_path):
    jsonl.write(tmp_path / "examples.jsonl", [{"prompt": QUESTIONS[0]["prompt"], "thought": "a", "summary": "b"}])
    cfg = settings(data, model=str(MODEL), chat=False, few_shot={"examples": str(tmp_path / "examples.jsonl")})
    with pytest.raises(ConfigError, match=r"shots=1, and there are 0 examples for a question in en: 'What is 0 plus"):
        cold_start.run(cfg, tmp_path / "work", mesh1)


# R1-Zero's outputs, rewritten by rule


def test_r1_zeros_outputs_are_chosen_and_rewritten_by_rule(data, mesh1, tmp_path):
    cfg = settings(data, zero={"record": str(data / "zero")})
    cold_start.run(cfg, tmp_path, mesh1)
    assert [(row["id"], row["response"]) for row in rows(tmp_path / "samples.jsonl")] == [
        ("zero:step_000010:en-1-7:0", "|| So 1+2=3. That is 3. || The answer is \\boxed{3}."),
        ("zero:step_000010:en-3-7:1", "|| Let me see, 3+4=7. || The answer is \\boxed{7}."),
        ("zero:step_000010:zh-4-7:0", "|| 先算，4+5=9，所以是9。 || 答案是\\boxed{9}。"),
    ]
    assert table(tmp_path)["found"]["zero"]["dropped"] == {
        "wrong": 2,
        "not in the question's language": 1,
        "says what another one says": 1,
        "cut off": 1,
    }
    assert all(row["provenance"]["rewritten_by"] == "rule" for row in rows(tmp_path / "samples.jsonl"))


def test_evaluations_are_a_record_where_no_rollouts_were_kept_and_steps_can_be_passed_over(data, tmp_path):
    assert len(candidates.from_record(data / "zero")) == 8 and len(candidates.from_record(data / "zero", 3)) == 7
    shutil.copytree(data / "zero" / "rollouts", tmp_path / "evals")
    assert [each.id for each in candidates.from_record(tmp_path, 2)] == [
        each.id for each in candidates.from_record(data / "zero")
    ]
    with pytest.raises(FileNotFoundError, match="from step 11 on"):
        candidates.from_record(data / "zero", 11)


# What cannot be collected


@pytest.mark.parametrize(
    "changes, said",
    [
        ({}, "nothing to collect"),
        ({"direct": {}}, "which one model to ask"),
        ({"zero": {}}, "config.zero.record, a folder"),
        ({"zero": {"record": "a", "model": "b"}}, "config.zero.record, a folder"),
        ({"zero": {"record": "a", "rewrite": "teacher"}}, "which one model to ask"),
        ({"zero": {"record": "NOWHERE"}}, "no file"),
        ({"zero": {"record": "."}}, "holds no rollouts/step_"),
        ({"direct": {}, "model": "m", "questions": None}, "config.questions is missing"),
        ({"direct": {"instruction": "Solve it."}}, "no {prompt}"),
        ({"files": ("nowhere.jsonl",)}, "no file"),
        ({"files": ("questions.jsonl",), "data": "DATA"}, "no row has a prompt, a thought"),
        ({"files": ("x",), "held_out_share": 0.2}, "should be the same"),
        ({"files": ("x",), "marker": " | "}, "no white space"),
        ({"files": ("x",), "readable": {"min_chars": 9, "max_chars": 8}}, "no thought is left"),
    ],
)
def test_what_cannot_be_collected_is_told_before_anything_is_drawn(data, mesh1, tmp_path, changes, said):
    changes = {key: str(data) if value == "DATA" else value for key, value in changes.items()}
    with pytest.raises((ConfigError, FileNotFoundError, ValueError), match=re.escape(said)):
        cold_start.run(settings(data, **changes), tmp_path / "work", mesh1)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("size", ["mini", "longcot", "endpoint", "rewrite"])
def test_the_page_holds_configs_that_parse(size):
    cfg = config.parse(ColdStartConfig, config_files.load(f"{ROOT / 'configs' / 'coldstart.py'}:{size}"))
    assert cfg.marker == ("==" if size == "mini" else "|special_token|")
