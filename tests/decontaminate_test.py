"""Decontamination: shared runs of words, short questions as they stand, real sets that are known to overlap or not."""

import json
import pathlib
import random

import pytest
from steps import steps

from r1jax.benchmarks import reading
from r1jax.config import ConfigError
from r1jax.data.decontaminate import Index
from r1jax.text import normalized_overlap
from r1jax.tools import decontaminate

DATA = pathlib.Path(__file__).resolve().parent.parent.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}")

LONG = "Janet's ducks lay 16 eggs per day. She eats three for breakfast and bakes muffins with four of them."


def words(text: str) -> list[str]:
    return normalized_overlap.words(normalized_overlap.tokens(text))


def rows(path: pathlib.Path) -> list[dict]:
    with path.open("rb") as lines:  # only "\n" ends a line, and str.splitlines breaks at more
        return [json.loads(line) for line in lines]


def index(*questions: str, ngram: int = 13) -> Index:
    return Index([(f"q{i}", question) for i, question in enumerate(questions)], ngram)


def found(text: str, *questions: str, ngram: int = 13) -> str | None:
    collision = index(*questions, ngram=ngram).collision(text)
    return collision and collision.id


def test_thirteen_words_in_a_row_are_too_many_and_twelve_are_not():
    said = words(LONG)
    assert len(said) == 20
    assert found(f"Once {' '.join(said[2:15])} or so", LONG) == "q0"
    assert found(f"Once {' '.join(said[2:14])} or so", LONG) is None
    assert found(f"{' '.join(said[:8])} or {' '.join(said[8:])}", LONG) is None
    assert index(LONG).collision(LONG).shared == "janet s ducks lay 16 eggs per day she eats three for breakfast"


def test_the_question_that_is_shared_most_is_named_and_set_phrases_may_pass():
    said = words(LONG)
    phrase = " ".join(said[:14])  # two runs, of this question all and of LONG two of eight
    both = index(LONG, phrase + " or so it seems to me")
    assert both.collision(LONG) == ("q0", " ".join(said[:13]), 1.0)
    some = " ".join(said[:16])
    assert both.collision(some).share == 4 / 8
    assert both.collision(some, share=0.5) and not both.collision(some, share=0.51)
    assert index("Why so?").collision("Why so?", share=1.0).share == 1.0


def test_case_width_punctuation_and_line_breaks_make_no_difference():
    text = LONG.upper().replace(" ", "\n ").replace(".", " !").replace("16", "１６")
    assert found(text, "Why?", LONG) == "q1"


def test_chinese_is_compared_by_characters():
    question = "小明有七个苹果，吃了三个，妈妈又给他两个，还剩几个？"
    assert len(words(question)) == 22
    assert found("从前，小明有七个苹果吃了三个妈妈。", question) == "q0"  # 13 of them
    assert found("从前，小明有七个苹果吃了三个妈。", question) is None


def test_trap32_a_question_shorter_than_n_words_is_found_as_it_stands():
    short = "What is $2^{10} - 1$?"
    assert len(words(short)) < 13
    for text in (short, "what is $2^{10}-1$ ?", f"A question: {short} Answer in one word.", "请问What is$2^{10}-1$?"):
        assert found(text, LONG, short) == "q1"
    for text in ("What is $2^{10} + 1$?", "What is 2?", "What is $2^{1 0} - 11$?"):
        assert found(text, LONG, short) is None


def test_trap32_a_short_question_is_not_found_inside_words_and_numbers():
    assert found("1234 + 5678 = ?", "1234 + 567") is None
    assert found("51234 + 567 = ?", "1234 + 567") is None
    assert found("(1234 + 567) = ?", "1234 + 567") == "q0"


def test_the_shortest_questions_must_be_the_whole_text():
    assert found("1 + 1 = ?", "1+1=?") == "q0"
    assert found("If 1 + 1 = ?, what is 2 + 2?", "1+1=?") is None
    assert found("你好吗？", "你好吗?") == "q0"


def test_nothing_collides_with_nothing():
    assert found(LONG) is None
    assert found("", LONG, "short") is None
    assert found("?", "") is None


@needs_data
def test_trap32_every_question_of_math500_is_found_in_maths_test_set_short_ones_too():
    questions = list(reading.questions("math500", str(DATA)))
    lookup, test = Index(questions, 13), rows(DATA / "math" / "test.jsonl")
    short = {normalized_overlap.digest(text) for _, text in questions if len(words(text)) < 13}
    theirs = {normalized_overlap.digest(text) for _, text in questions}
    same = [row["prompt"] for row in test if normalized_overlap.digest(row["prompt"]) in theirs]
    assert len(short) == 51 and len(same) >= 490
    assert all(lookup.collision(text) for text in same)
    assert sum(normalized_overlap.digest(text) in short for text in same) >= 48  # which no run of words would have told


@needs_data
@pytest.mark.parametrize(
    "train, against, collide, half",
    [
        # A set's own questions, with solutions of others: all.
        ("gsm8k_model_solutions/test.jsonl", "gsm8k", 1319, 1319),
        # "A train (plane) travels 270 (1200) miles in 3 hours. At the same rate, how many additional hours ...", twice.
        ("gsm8k/train.jsonl", "gsm8k", 4, 2),
        # No copies: set phrases, and several questions about one figure.
        ("math/train.jsonl", "math500", 154, 18),
        # Six copies, two of them set in another way; else "m/n, where m and n are relatively prime positive integers".
        ("aime_1983_2023/train.jsonl", "math500", 123, 7),
        # Translations share no words with what they translate: not seen.
        ("mgsm_zh/test.jsonl", "gsm8k", 0, 0),
    ],
)
def test_how_many_questions_of_real_sets_collide(train, against, collide, half):
    lookup = Index(reading.questions(against, str(DATA)), 13)
    found = [hit for row in rows(DATA / train) if (hit := lookup.collision(row["prompt"]))]
    assert len(found) == collide
    assert sum(hit.share >= 0.5 for hit in found) == half


def test_a_hundred_thousand_rows_take_seconds():
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 9))) for _ in range(3000)]

    def sentence(words: int) -> str:
        return " ".join(rng.choices(vocabulary, k=words)) + "?"

    questions = [sentence(rng.randint(5, 60)) for _ in range(2000)]
    texts = [sentence(45) for _ in range(300)]  # as long as GSM8K's
    few, many = index(*questions[:200]), index(*questions)
    assert not any(map(many.collision, texts))

    def cost(lookup: Index, texts: list[str]) -> int:
        return steps(lambda: list(map(lookup.collision, texts)))

    # A row takes 20 steps a word at most, whatever the number of questions, and a longer row no more of them a word.
    assert cost(many, texts) <= 20 * 45 * len(texts)
    assert cost(many, texts) <= 1.1 * cost(few, texts)
    assert cost(many, [" ".join(texts)]) <= 1.1 * cost(many, texts)


def run(*arguments: object) -> int:
    return decontaminate.main([str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path) -> pathlib.Path:
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text(json.dumps({"question": LONG, "answer": "#### 9"}) + "\n")
    (tmp_path / "mine.jsonl").write_text(json.dumps({"id": 7, "problem": "What is 2 to the power of ten?"}) + "\n")
    train = [
        {"id": "a", "prompt": f"Solve: {LONG}", "response": "9"},
        {"prompt": "What is 2 to the power of twenty?", "response": "很大"},
        {
            "messages": [
                {"role": "user", "content": "What is 2 to the power of ten? Quick!"},
                {"role": "assistant", "content": LONG},
            ]
        },
        {"messages": [{"role": "user", "content": "Say it"}, {"role": "assistant", "content": LONG}]},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in train))
    return tmp_path


def test_the_command_writes_what_is_clean_and_says_what_is_not(files, capsys):
    assert (
        run(
            files / "train.jsonl",
            "--against",
            "gsm8k",
            files / "mine.jsonl",
            "--data",
            files,
            "--out",
            files / "clean.jsonl",
            "--dropped",
            files / "dropped.jsonl",
        )
        == 0
    )
    train = rows(files / "train.jsonl")
    assert rows(files / "clean.jsonl") == [train[1], train[3]]
    dropped = rows(files / "dropped.jsonl")
    assert [(row["id"], row["collides"]) for row in dropped] == [("a", "gsm8k/0"), (3, f"{files.name}/mine/7")]
    shown = capsys.readouterr().out
    assert "4 rows" in shown and "25.00%" in shown and "50.00%" in shown and "2 rows: " in shown


def test_tables_are_read_and_their_columns_mapped(files, capsys):
    (files / "mine.csv").write_text(f'text,label\n"{LONG}",1\nWhat is 2 to the power of twenty?,2\n')
    asked = [files / "mine.csv", "--against", "gsm8k", "--data", files, "--out", files / "clean.jsonl"]
    assert run(*asked) == 2
    assert "mine.csv, row 1: neither 'prompt' nor 'messages'; the row has: text, label" in capsys.readouterr().err
    assert run(*asked, "--columns", "prompt=text") == 0
    assert rows(files / "clean.jsonl") == [{"text": "What is 2 to the power of twenty?", "label": "2"}]
    assert run(*asked, "--columns", "gsm8") == 2
    assert "columns='gsm8' is no ready mapping" in capsys.readouterr().err


def test_parquet_in_the_layout_of_a_known_set_is_read(files, capsys):
    pyarrow = pytest.importorskip("pyarrow")
    table = [{"question": text, "answer": "#### 9", "note": None} for text in (LONG, "What is twenty?")]
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(table), files / "t.parquet")
    asked = [files / "t.parquet", "--columns", "gsm8k", "--against", "gsm8k", "--data", files]
    assert run(*asked, "--out", files / "clean.jsonl") == 0
    assert rows(files / "clean.jsonl") == [{"question": "What is twenty?", "answer": "#### 9"}]
    table = pyarrow.table({"question": ["?"], "answer": ["#### 9"], "image": [b"1"]})
    pytest.importorskip("pyarrow.parquet").write_table(table, files / "t.parquet")
    assert run(*asked, "--out", files / "clean.jsonl") == 2
    assert "t.parquet, row 1: column 'image' cannot be written as JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    "against, data, said",
    [
        ("gsm8", "", "no file gsm8, and no benchmark of that name; nearest benchmark: gsm8k"),
        ("ceval", "", "no data for ceval, which is not fetched from the Hugging Face hub"),
        ("math500", "FILES", "no file FILES/math500/test.jsonl"),
        ("FILES/other.jsonl", "", "FILES/other.jsonl:1: no prompt, question, problem; the row has: text"),
    ],
)
def test_what_cannot_be_compared_with_is_told(files, capsys, against, data, said):
    (files / "other.jsonl").write_text('{"text": "?"}\n')
    against, data, said = (text.replace("FILES", str(files)) for text in (against, data, said))
    assert run(files / "train.jsonl", "--against", against, "--data", data, "--out", files / "clean.jsonl") == 2
    assert said in capsys.readouterr().err
    assert not (files / "clean.jsonl").exists()


def test_a_row_that_asks_nothing_is_told_by_its_line(files, capsys):
    with (files / "train.jsonl").open("a") as file:
        file.write('{"text": "?"}\n')
    assert run(files / "train.jsonl", "--against", files / "mine.jsonl", "--out", files / "clean.jsonl") == 2
    assert "train.jsonl:5: neither 'prompt' nor 'messages'; the row has: text" in capsys.readouterr().err


def test_a_benchmark_row_of_another_layout_is_told_by_its_line(files):
    (files / "gsm8k" / "test.jsonl").write_text('{"text": "?"}\n')
    with pytest.raises(ValueError, match=r"test\.jsonl:1: KeyError\('question'\); is this GSM8K\?"):
        list(reading.questions("gsm8k", str(files)))
    with pytest.raises(ConfigError, match="no benchmark of that name"):
        list(reading.questions("nothing", str(files)))
