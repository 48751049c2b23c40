"""Training data in other files than JSONL: what each kind gives, columns mapped, faults by file, row and column."""

import csv
import json
import pathlib

import pytest

from r1jax.data import columns, sft
from r1jax.data.preference_pairs import Input, PreferenceDataConfig, Preferences
from r1jax.data.tasks import DataConfig, Questions
from r1jax.graders.grader_table import check_row
from r1jax.io import row_files
from r1jax.io.row_files import read_questions, read_records

DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
ROWS = [{"id": f"q{i}", "prompt": f"{i} + 1?", "answer": str(i + 1), "level": i if i % 2 else None} for i in range(5)]


def write(path: pathlib.Path, rows: list[dict]) -> pathlib.Path:
    """A file of these rows of the kind of its name; `saved`: by `datasets`."""
    if path.name == "saved":
        pytest.importorskip("datasets").Dataset.from_list(rows).save_to_disk(path, num_shards=min(2, len(rows)))
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.name.startswith("list"):
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def questions(**fields) -> Questions:
    return Questions(DataConfig(held_out_share=0.0, **fields), 0, None, examine=check_row)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "list.json", "a.txt", "a.parquet", "a.csv", "saved"])
def test_every_kind_of_file_gives_the_same_questions_in_the_same_order(name, tmp_path):
    rows, skipped = read_questions(write(tmp_path / name, ROWS))
    assert [(row["id"], row["prompt"], row["answer"]) for row in rows] == [
        (f"q{i}", f"{i} + 1?", str(i + 1)) for i in range(5)
    ]
    assert skipped == 0
    expected = questions(path=str(write(tmp_path / "plain.jsonl", ROWS))).take(0, 8)
    found = questions(path=str(tmp_path / name)).take(0, 8)
    assert [(p.id, p.question, p.answer) for p in found] == [(p.id, p.question, p.answer) for p in expected]


def test_a_folder_of_shards_is_read_by_name_and_rows_are_numbered_throughout(tmp_path):
    rows = [{key: row[key] for key in ("prompt", "answer")} for row in ROWS]
    for i, shard in enumerate((rows[:2], rows[2:])):
        write(tmp_path / f"train-0000{i}.parquet", shard)
    read, _ = read_questions(tmp_path)
    assert [row["prompt"] for row in read] == [row["prompt"] for row in rows]
    assert [row["id"] for row in read] == [f"{tmp_path.stem}-{i}" for i in range(1, 6)]
    assert row_files.content_hash(tmp_path) != row_files.content_hash(tmp_path / "train-00000.parquet")


def test_a_folder_of_several_splits_names_them(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": one, "test": one.select([3, 1])}).save_to_disk(tmp_path / "both")
    with pytest.raises(ValueError, match=rf"holds several splits: name one of {tmp_path}/both/train, .*both/test"):
        read_questions(tmp_path / "both")
    assert [row["id"] for row in read_questions(tmp_path / "both/test")[0]] == ["q3", "q1"]


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "list.json", "saved"])
def test_a_bad_row_is_named_by_file_row_and_column_and_can_be_skipped(name, tmp_path):
    path = write(tmp_path / name, [*ROWS[:1], {**ROWS[1], "answer": None}, *ROWS[2:]])
    with pytest.raises(
        ValueError, match=r", row 2: (reference answer '' cannot|no 'answer').*data\.skip_bad_lines=true"
    ) as error:
        questions(path=str(path))
    assert str(error.value).startswith(str(path))
    assert questions(path=str(path), skip_bad_lines=True).skipped == 1
    mapped = columns.reader("prompt=prompt,answer=answr", "questions")
    with pytest.raises(ValueError, match=r", row 1: no column 'answr': .*answer.*nearest: answer"):
        read_questions(path, columns=mapped)


def test_columns_are_reached_by_dots_and_numbers_and_others_are_not_read(tmp_path):
    rows = [{"q": {"text": ["a?", "b?"]}, "a.b": "2", "tests": ["no"]}, {"q": {"text": ["c?", "d?"]}, "a.b": None}]
    path = write(tmp_path / "a.jsonl", rows)
    for given in ("prompt=q.text.-1, answer=a.b", {"prompt": "q.text.-1", "answer": "a.b"}):
        made, skipped = read_questions(path, skip_bad=True, columns=columns.reader(given, "questions"))
        assert made == [{"prompt": "b?", "answer": "2", "id": "a-1"}] and skipped == 1
    with pytest.raises(
        ValueError, match=r"a\.jsonl:2: no 'answer'.*; columns: prompt is 'q\.text\.-1', answer is 'a\.b'"
    ):
        read_questions(path, columns=columns.reader(given, "questions"))
    with pytest.raises(ValueError, match=r"no column 'q\.text\.2': no '2' in 2 entries"):
        read_questions(path, columns=columns.reader("prompt=q.text.2", "questions"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gsm9k", "no ready mapping of questions; there are gsm8k, math, openr1_math, countdown"),
        ("tulu", "no ready mapping of questions, it is one of examples"),
        (["prompt"], "should be the name of a ready mapping"),
        ({"prompt": 3}, "should be the name of a ready mapping"),
    ],
)
def test_a_mapping_that_does_not_exist_is_refused_with_the_config(given, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(path="a.jsonl", columns=given)


OPENR1 = {
    "problem": "1 + 1?",
    "answer": "2",
    "uuid": "u",
    "generations": ["<think>3", "<think>no</think>3", "<think>yes</think>2"],
    "is_reasoning_complete": [False, True, True],
    "correctness_math_verify": [True, False, False],
    "correctness_llama": [False, False, True],
}
MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
READY = {
    ("questions", "gsm8k"): (
        {"question": "Sum?", "answer": "2 + 3 = <<2+3=5>>5\n#### 1,005"},
        {"prompt": "Sum?", "answer": "1005"},
    ),
    ("examples", "gsm8k"): (
        {"question": "Sum?", "answer": "It is 5.\n#### 5"},
        {"prompt": "Sum?", "response": "It is 5."},
    ),
    ("questions", "math"): (
        {"problem": "Set?", "solution": r"\boxed{1}, no: $\boxed{\{ \frac{1}{2} \}}$.", "level": "Level 5"},
        {"prompt": "Set?", "answer": r"\{ \frac{1}{2} \}"},
    ),
    ("examples", "math"): (
        {"problem": "Set?", "solution": r"$\boxed{1}$"},
        {"prompt": "Set?", "response": r"$\boxed{1}$"},
    ),
    ("questions", "openr1_math"): (OPENR1, {"id": "u", "prompt": "1 + 1?", "answer": "2"}),
    ("examples", "openr1_math"): (OPENR1, {"id": "u", "prompt": "1 + 1?", "response": "<think>yes</think>2"}),
    ("questions", "countdown"): (
        {"nums": [3, 5], "target": 8},
        {
            "prompt": "Using the numbers [3, 5], each exactly once, and the operations +, -, * and /, write an "
            "expression that equals 8.",
            "answer": "",
            "nums": [3, 5],
            "target": 8,
        },
    ),
    ("examples", "tulu"): ({"id": "t", "messages": MESSAGES, "source": "s"}, {"id": "t", "messages": MESSAGES}),
    ("pairs", "ultrafeedback"): (
        {
            "prompt": "Hi",
            "prompt_id": "p",
            "chosen": MESSAGES,
            "rejected": [MESSAGES[0], {"role": "assistant", "content": "No"}],
            "score_chosen": 8.0,
        },
        {"id": "p", "prompt": "Hi", "chosen": "Ho", "rejected": "No"},
    ),
}


def test_every_ready_mapping_has_its_example():
    assert set(READY) == {(purpose, name) for purpose in columns.READY for name in columns.READY[purpose]}


@pytest.mark.parametrize(("purpose", "name"), READY)
def test_a_ready_mapping_reads_its_sets_layout_from_parquet(purpose, name, tmp_path):
    row, expected = READY[purpose, name]
    path = write(tmp_path / "a.parquet", [row])
    mapped = columns.reader(name, purpose)
    assert read_records(path, lambda row, _: row, columns=mapped)[0] == [expected]
    with pytest.raises(ValueError, match=r"a\.jsonl:1: no column '\w+'; it has: other"):
        read_records(write(tmp_path / "a.jsonl", [{"other": 1}]), lambda row, _: row, columns=mapped)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("gsm8k", {"question": "?", "answer": "5"}, "column 'answer' has no '#### answer'"),
        ("math", {"problem": "?", "solution": "5"}, r"column 'solution' has no \\boxed\{answer\}"),
        ("math", {"problem": "?", "solution": r"\boxed{5"}, r"column 'solution' does not close its last \\boxed"),
        ("countdown", {"nums": "3, 5", "target": 8}, "column 'nums' holds '3, 5'"),
    ],
)
def test_a_row_that_a_ready_mapping_cannot_read_is_named_by_its_column(name, row, message, tmp_path):
    with pytest.raises(ValueError, match=rf"a\.jsonl:1: {message}"):
        questions(path=str(write(tmp_path / "a.jsonl", [row])), columns=name)


def test_mapped_rows_are_graded_as_countdown_and_train_reward_models(tmp_path):
    rows = [READY["questions", "countdown"][0], {"nums": [2, 3, 4], "target": 24}]
    made = questions(path=str(write(tmp_path / "a.parquet", rows)), columns="countdown")
    assert made.graders == {"countdown"} and made.take(0, 2)[0].metadata.keys() == {"nums", "target"}
    pair = READY["pairs", "ultrafeedback"][0]
    pairs = write(tmp_path / "pairs.parquet", [pair, {**pair, "prompt": "Ho", "prompt_id": "r"}])
    cfg = PreferenceDataConfig(str(pairs), held_out_share=0.0, columns="ultrafeedback")
    read = Preferences(cfg, "pairwise", 0, lambda prompt, text: Input(list(text.encode()), False, len(text)))
    assert sorted((pair.id, pair.prompt) for pair in read.take(0, 2)) == [("p", "Hi"), ("r", "Ho")] and not read.unread


def test_fine_tuning_reads_a_saved_folder_as_it_reads_jsonl(tmp_path, tokenizer):
    rows = [{"question": f"{i} + 1?", "reply": {"text": str(i + 1)}} for i in range(4)]
    paths = (write(tmp_path / "a.jsonl", rows), write(tmp_path / "saved", rows))
    mapping = {"prompt": "question", "response": "reply.text"}
    made = [
        sft.Instructions(
            sft.InstructionConfig(str(path), "plain", held_out_share=0.0, columns=mapping), 0, tokenizer, 64
        )
        for path in paths
    ]
    assert made[0].take(0, 8) == made[1].take(0, 8) and not made[0].unread
    config = sft.InstructionConfig(str(paths[0]), columns=mapping)
    assert sft.digest(config, 0) != sft.digest(sft.InstructionConfig(str(paths[1]), columns=mapping), 0)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}")
@pytest.mark.parametrize("name", ["gsm8k/train", "countdown/test", "mmlu/val"])
def test_real_sets_are_the_same_through_parquet_and_datasets(name, tmp_path):
    plain = DATA / f"{name}.jsonl"
    rows = read_questions(plain)[0][:500]
    for kind in ("a.parquet", "saved"):
        read = read_questions(write(tmp_path / kind, rows))[0]
        assert [{**row, "id": ""} for row in read] == [{**row, "id": ""} for row in rows]
