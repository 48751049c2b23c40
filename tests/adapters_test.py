"""Every benchmark's file: the public original's layout becomes questions that the set's own grader can grade."""

import base64
import json
import pathlib
import pickle
import zlib

import pytest

from r1jax.benchmarks import benchmark, reading
from r1jax.benchmarks.benchmark import find, names, render
from r1jax.config import ConfigError
from r1jax.data.types import Prompt, Rollout
from r1jax.graders import grader_table, judge_protocols
from r1jax.graders.config import GraderConfig

SHARED = pathlib.Path(__file__).parent.parent.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data beside the project")

MCQ = {"question": "Which? ", "choices": ["w", "x", "y", "z"], "answer": 2, "subject": "law"}
# benchmark -> a row as published, its prompt's beginning, its answer.
ORIGINALS = {
    "aime2024": ({"id": 60, "problem": "Find x.", "answer": "073"}, "Find x.", "073"),
    "aime_1983_2023": ({"ID": "1983-1", "Year": 1983, "Question": "Find.", "Answer": 60}, "Find.", "60"),
    "math500": (
        {"problem": "Area?", "answer": "\\frac12", "subject": "Geometry", "unique_id": "u"},
        "Area?",
        "\\frac12",
    ),
    "cnmo2024": ({"problem": "p?", "answer": 5}, "p?", "5"),
    "amc23": ({"id": 0, "problem": "Speed?", "answer": 27.0}, "Speed?", "27"),
    "gsm8k": ({"question": "Eggs?", "answer": "16 - 3\n#### 1,018"}, "Eggs?", "1018"),
    "asdiv": ({"body": "Two.", "question": "How many?", "answer": "9 (apples)"}, "Two. How many?", "9"),
    "mawps": ({"question": "Sum?", "result": "3"}, "Sum?", "3"),
    "cmath": ({"question": "多少？", "golden": "11", "grade": 1}, "多少？", "11"),
    "mgsm_zh": ({"question": "问题：多少？", "answer_number": 18}, "多少？", "18"),
    "cn_middle_school": ({"question": "最小？", "answer": "A"}, "最小？", "A"),
    "mmlu": (MCQ, "Which?\nA. w\nB. x\nC. y\nD. z", "C"),
    "mmlu_redux": ({**MCQ, "error_type": "ok", "correct_answer": None}, "Which?\nA. w", "C"),
    "mmlu_pro": (
        {"question_id": 7, "question": "Which?", "options": list("abcdefghij"), "answer_index": 9, "category": "law"},
        "Which?\nA. a",
        "J",
    ),
    "drop": (
        {"passage": "P.", "question": "Q?", "answers_spans": {"spans": ["4", "four"]}, "query_id": "x"},
        "Passage: P.\nQuestion: Q?",
        "4",
    ),
    "simpleqa": ({"problem": "Who?", "answer": "She", "metadata": "{}"}, "Who?", "She"),
    "frames": ({"Prompt": "Who?", "Answer": "He", "reasoning_types": "x"}, "Who?", "He"),
    "ceval": (
        {"id": 0, "question": "哪个？", "A": "1", "B": "2", "C": "3", "D": "4", "answer": "B"},
        "哪个？\nA. 1",
        "B",
    ),
    "cluewsc": (
        {
            "text": "他来了。",
            "label": 1,
            "target": {"span1_text": "张三", "span2_text": "他", "span1_index": 0, "span2_index": 0},
        },
        "他来了。",
        "否",
    ),
    "c_simpleqa": ({"id": "a", "question": "首都？", "answer": "北京", "primary_category": "地理"}, "首都？", "北京"),
    "ifeval": (
        {"key": 1, "prompt": "Write.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        "Write.",
        "",
    ),
    "alpaca_eval": ({"instruction": "Do.", "output": "Done.", "generator": "g", "dataset": "d"}, "Do.", ""),
    "world_reasoning": (
        {"id": "r", "prompt": "1 + 1 等于?", "answer": "2", "language": "zh", "kind": "chain"},
        "1 + 1",
        "2",
    ),
    "world_general": (
        {"id": "g", "prompt": "What is red in Chinese?", "answer": "红", "grader": "exact", "kind": "translation"},
        "What is red",
        "红",
    ),
    "world_instructions": (
        {
            "id": "i",
            "prompt": "Write to Bob about a cat, in quotes",
            "answer": "",
            "grader": "ifeval",
            "instruction_id_list": ["startend:quotation"],
            "kwargs": [{}],
            "level": 1,
        },
        "Write to Bob",
        "",
    ),
    "world_open": (
        {"id": "o", "prompt": "Hello, I am Bob.", "answer": "Hello Bob.", "grader": "open", "kind": "greeting"},
        "Hello",
        "Hello Bob.",
    ),
    "arena_hard": ({"question_id": "q", "cluster": "c", "turns": [{"content": "Do."}]}, "Do.", ""),
    "arena_hard_v2": ({"uid": "q", "category": "c", "prompt": "Do."}, "Do.", ""),
    "humaneval": (
        {
            "task_id": "H/0",
            "prompt": "def f(x):\n",
            "canonical_solution": "    return x\n",
            "entry_point": "f",
            "test": "def check(c):\n    assert c(1) == 1\n",
        },
        "def f(x):",
        "    return x\n",
    ),
    "mbpp": (
        {
            "task_id": 11,
            "text": "Write f.",
            "code": "def f(x): return x",
            "test_list": ["assert f(1) == 1"],
            "test_setup_code": "",
        },
        "Write f.",
        "def f(x): return x",
    ),
    "leetcode": (
        {
            "task_id": "t",
            "problem_description": "Two sum.",
            "starter_code": "class Solution:",
            "completion": "x",
            "entry_point": "Solution().f",
            "test": "def check(candidate):\n    assert candidate(1) == 1",
        },
        "Two sum.",
        "x",
    ),
    "livecodebench": (
        {
            "question_id": "a",
            "question_content": "Add.",
            "starter_code": "",
            "contest_date": "2024-08-03",
            "metadata": "{}",
            "public_test_cases": json.dumps([{"input": "1", "output": "2", "testtype": "stdin"}]),
            "private_test_cases": "[]",
        },
        "Add.",
        "",
    ),
    "code_contests": (
        {
            "name": "n",
            "description": "Add.",
            "public_tests": {"input": ["1"], "output": ["2"]},
            "private_tests": {"input": [], "output": []},
            "generated_tests": {"input": ["2"], "output": ["3"]},
            "time_limit": {"seconds": 2, "nanos": 500_000_000},
            "memory_limit_bytes": 256 * 2**20,
        },
        "Add.",
        "",
    ),
    "codeforces": (
        {
            "id": "1/A",
            "title": "T",
            "description": "Add.",
            "input_format": "i",
            "output_format": "o",
            "rating": 1500,
            "official_tests": [{"input": "1", "output": "2"}],
            "time_limit": 2.0,
            "memory_limit": 256.0,
        },
        "T\n\nAdd.",
        "",
    ),
    "gpqa_diamond": (
        {
            "Record ID": "r",
            "Question": "Why?",
            "Correct Answer": "so",
            "Incorrect Answer 1": "a",
            "Incorrect Answer 2": "b",
            "Incorrect Answer 3": "c",
            "High-level domain": "Physics",
        },
        "Why?\nA. ",
        None,
    ),
}


def read(name: str, folder: pathlib.Path, *rows: dict) -> reading.Data:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench = find(name)
    baseline = {str(row.get("question_id") or row.get("uid")): "hers" for row in rows} if "arena" in name else {}
    return reading.read(bench, path, bench.grader, baseline)


def variants(row: dict, count: int) -> list[dict]:
    """As many rows, so that some are left when examples are taken off."""
    keys = ("id", "query_id", "key", "question_id", "task_id", "uid", "unique_id", "name", "ID", "Record ID")
    return [{k: f"{v}-{i}" if k in keys else v for k, v in row.items()} for i in range(count)]


def test_every_benchmark_has_its_originals_layout_here():
    assert set(names()) - {"aider_polyglot", "swe_bench"} == set(ORIGINALS)  # those two have tests of their own


@pytest.mark.parametrize("name", sorted(ORIGINALS))
def test_the_public_originals_rows_are_read(name, tmp_path):
    row, prompt, answer = ORIGINALS[name]
    bench = find(name)
    data = read(name, tmp_path, *variants(row, bench.shots + 1))
    [made] = data.rows
    assert made["prompt"].startswith(prompt) and (answer is None or made["answer"] == answer)
    assert len(data.shots) == bench.shots and data.left_out == 0
    text = render(made, bench.instruction, data.shots)
    assert made["prompt"] in text and "{prompt}" not in text


@pytest.mark.parametrize("name", ["gsm8k", "mmlu", "humaneval", "code_contests"])
def test_parquet_is_read_like_jsonl(name, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    rows = variants(ORIGINALS[name][0], 3)
    (tmp_path / "shards").mkdir()
    for i, shard in enumerate((rows[:2], rows[2:])):
        parquet.write_table(pyarrow.Table.from_pylist(shard), tmp_path / "shards" / f"test-{i}.parquet")
    bench = find(name)
    loaded = reading.read(bench, tmp_path / "shards", bench.grader, {})
    plain = read(name, tmp_path, *rows)
    assert [{**row, "id": ""} for row in loaded.rows] == [{**row, "id": ""} for row in plain.rows]
    assert reading.data_hash(tmp_path / "shards") != reading.data_hash(tmp_path / "rows.jsonl")


def test_csv_and_json_are_read_too(tmp_path):
    bench = find("simpleqa")
    (tmp_path / "a.csv").write_text('metadata,problem,answer\n"{""x"": 1}","Who, then?",She\n', encoding="utf-8")
    (tmp_path / "a.json").write_text('[{"problem": "Who, then?", "answer": "She"}]')
    for name in ("a.csv", "a.json"):
        [row] = reading.read(bench, tmp_path / name, bench.grader, {}).rows
        assert (row["prompt"], row["answer"]) == ("Who, then?", "She")


def test_gpqas_right_option_always_stands_in_one_place_and_not_always_in_the_same(tmp_path):
    rows = [{**ORIGINALS["gpqa_diamond"][0], "Question": f"Why {i}?", "Record ID": str(i)} for i in range(40)]
    first, again = (read("gpqa_diamond", tmp_path, *rows).rows for _ in range(2))
    assert first == again and {row["answer"] for row in first} == set("ABCD")
    assert all(f"{row['answer']}. so" in row["prompt"] for row in first)


def test_mmlu_redux_mends_keys_and_leaves_out_questions_without_one_answer(tmp_path):
    def row(error_type, correct):
        return {**MCQ, "error_type": error_type, "correct_answer": correct}

    data = read(
        "mmlu_redux",
        tmp_path,
        row("ok", None),
        row("wrong_groundtruth", "0"),
        row("wrong_groundtruth", "z"),
        row("wrong_groundtruth", "b"),
        row("bad_question_clarity", None),
        row("wrong_groundtruth", "2 and 3"),
        row("multiple_correct_answers", "AB"),
    )
    assert [row["answer"] for row in data.rows] == ["C", "A", "D", "B"] and data.left_out == 3


def test_livecodebench_unpacks_private_tests_and_nothing_else(tmp_path):
    cases = [{"input": "[1, 2]\n3", "output": "[4]", "testtype": "functional"}]
    packed = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()
    row = {
        **ORIGINALS["livecodebench"][0],
        "public_test_cases": "[]",
        "private_test_cases": packed,
        "metadata": '{"func_name": "f"}',
    }
    [made] = read("livecodebench", tmp_path, row).rows
    assert made["test_list"] == ["assert Solution().f([1, 2], 3) == [4]"]
    evil = base64.b64encode(zlib.compress(pickle.dumps(print))).decode()
    with pytest.raises(ValueError, match="not a list of tests"):
        read("livecodebench", tmp_path, {**row, "private_test_cases": evil})


def test_what_is_left_out(tmp_path):
    row = ORIGINALS["aime_1983_2023"][0]
    assert read("aime_1983_2023", tmp_path, row, {**row, "ID": "2024", "Year": 2024}).left_out == 1
    talks = {**ORIGINALS["codeforces"][0], "id": "2/B", "interaction_format": "ask"}
    assert read("codeforces", tmp_path, ORIGINALS["codeforces"][0], talks).left_out == 1


@pytest.mark.parametrize(
    "rows, message",
    [
        ([{"question": "1?"}], "rows.jsonl:1: no 'answer'"),
        ([{"prompt": "1?", "answer": "1", "id": "a"}] * 2, "already that of"),
        ([{"prompt": " ", "answer": "1"}], "'prompt' is ' '"),
        ([], "nothing to ask"),
    ],
)
def test_bad_data_is_an_error_with_its_place(rows, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read("gsm8k", tmp_path, *rows)


def test_names_paths_and_graders_that_do_not_exist(tmp_path):
    with pytest.raises(ConfigError, match="nearest: math500"):
        find("math_500")
    with pytest.raises(ConfigError, match="no file"):
        find(str(tmp_path / "mine.py"))
    (tmp_path / "mine.py").write_text("BENCHMARK = 5\n")
    with pytest.raises(ConfigError, match="holds no BENCHMARK"):
        find(str(tmp_path / "mine.py"))
    (tmp_path / "mine.py").write_text("import nothing_like_this\n")
    with pytest.raises(ConfigError, match="does not load"):
        find(str(tmp_path / "mine.py"))


def test_every_benchmarks_grader_and_figures_exist():
    for name in names():
        bench = find(name)
        assert bench.grader in grader_table.GRADERS or bench.grader in judge_protocols.PROTOCOLS, name
        assert "{prompt}" in bench.instruction and bench.group in benchmark.Group.__args__
        assert bench.metric == "pass@1" or bench.summarize


def graded(bench: benchmark.Benchmark, row: dict, text: str) -> float | None:
    metadata = {key: value for key, value in row.items() if key not in ("id", "prompt", "answer")}
    prompt = Prompt(row["id"], row["prompt"], row["answer"], f"{bench.grader}:test", metadata=metadata)
    rollout = Rollout.of_text(prompt, text)
    return grader_table.GRADERS[bench.grader].grade(rollout, GraderConfig()).score


FORMS = {"maths": "Let me see.\n\nSo it is \\boxed{%s}.", "choice": "Well.\n\nAnswer: %s", "drop": "Well.\nAnswer: %s"}
WHOLE = [name for name in ORIGINALS if find(name).grader in FORMS]


@needs_shared
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 25])
@pytest.mark.parametrize("name", sorted(WHOLE))
def test_trap23_references_are_right_in_the_form_that_is_asked_for(name, every):
    bench = find(name)
    path = SHARED / bench.file
    if not path.exists():
        pytest.skip("not among the shared data")
    data = reading.read(bench, path, bench.grader, {})
    wrong = [row["id"] for row in data.rows[::every] if graded(bench, row, FORMS[bench.grader] % row["answer"]) != 1.0]
    assert not wrong
