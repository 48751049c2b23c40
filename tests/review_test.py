"""Human review: what goes out, what may come back, and what becomes of it."""

import json
import pathlib

import pytest
from tiny_run import rows

from r1jax import config
from r1jax.config import ConfigError
from r1jax.stages.cold_start import cold_start, review
from r1jax.stages.cold_start.cold_start import ColdStartConfig
from r1jax.text.chat import split_response

THOUGHT = "Let me add them. {a} and {b} make {c}, and let me check that once more by counting up. Yes, it is {c}."
SUMS = [(2, 3), (4, 5), (6, 7), (8, 9)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """Four chains of thought."""
    folder = tmp_path_factory.mktemp("data")
    write(
        folder / "sums.jsonl",
        [
            {
                "prompt": f"What is {a} plus {b}?",
                "answer": str(a + b),
                "thinking": THOUGHT.format(a=a, b=b, c=a + b),
                "response": f"The two numbers make \\boxed{{{a + b}}}.",
            }
            for a, b in SUMS
        ],
    )
    return folder


def write(path: pathlib.Path, lines: list) -> pathlib.Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def run(workdir: pathlib.Path, data: pathlib.Path, mesh, reviewed: pathlib.Path | str = "") -> list[dict]:
    cfg = config.parse(
        ColdStartConfig,
        {
            "stage": "coldstart",
            "data": str(data),
            "files": ("sums.jsonl",),
            "review": str(reviewed),
            "marker": "||",
            "held_out_share": 0.0,
            "readable": {"min_chars": 20},
            "graders": {"workers": 1},
        },
    )
    return rows(cold_start.run(cfg, workdir, mesh))


@pytest.fixture(scope="module")
def sent(tmp_path_factory, data, mesh1) -> pathlib.Path:
    """A workdir whose samples have gone out."""
    workdir = tmp_path_factory.mktemp("sent")
    run(workdir, data, mesh1)
    return workdir


@pytest.fixture
def lines(sent) -> list[dict]:
    """What went out, to be filled in."""
    return rows(sent / "review_out.jsonl")


def test_what_goes_out_holds_the_texts_and_empty_places_for_the_editor(sent, lines):
    samples = rows(sent / "samples.jsonl")
    assert [line["id"] for line in lines] == [row["id"] for row in samples] and len(lines) == 4
    for line, row in zip(lines, samples, strict=True):
        assert list(line) == ["id", "prompt", "thought", "summary", "verdict", "editor", "note"]
        assert (line["verdict"], line["editor"], line["note"]) == ("", "", "")
        parts = split_response(row["response"], "||")
        assert (line["prompt"], line["thought"], line["summary"]) == (row["prompt"], parts.thought, parts.final)


def test_what_comes_back_is_accepted_edited_and_rejected_with_its_editor(sent, data, lines, mesh1, tmp_path, capsys):
    before = rows(sent / "samples.jsonl")
    lines[0] |= {"verdict": "accept", "editor": "ann"}
    lines[1] |= {
        "verdict": "edit",
        "editor": "bob",
        "note": "clearer",
        "thought": "Four and five, counted up: 9. Yes.",
        "summary": "Together they are \\boxed{9}.",
    }
    lines[2] |= {"verdict": "reject", "editor": "ann", "note": "dull"}
    reviewed = write(tmp_path / "reviewed.jsonl", [lines[2], "\n", lines[1], lines[0]])  # in any order, one is missing
    after = run(tmp_path / "work", data, mesh1, reviewed)
    assert [row["id"] for row in after] == [before[i]["id"] for i in (0, 1, 3)]
    assert after[0]["response"] == before[0]["response"] and after[2] == before[3]
    assert after[1]["response"] == "|| Four and five, counted up: 9. Yes. || Together they are \\boxed{9}."
    said = [{key: row["provenance"].get(key) for key in ("verdict", "editor", "note")} for row in after]
    assert said == [
        {"verdict": "accept", "editor": "ann", "note": ""},
        {"verdict": "edit", "editor": "bob", "note": "clearer"},
        {"verdict": None, "editor": None, "note": None},
    ]
    table = json.loads((tmp_path / "work" / "table.json").read_text())
    assert table["review"] == {"accept": 1, "edit": 1, "reject": 1, "no line came back": 1}
    assert table["found"]["sums.jsonl"]["dropped"] == {"rejected in review": 1}
    assert "1 no line came back" in capsys.readouterr().out
    # Nothing is sent out where something has come back.
    assert not (tmp_path / "work" / "review_out.jsonl").exists()


def test_lines_without_a_verdict_stay_as_they_are_and_are_counted(sent, data, lines, mesh1, tmp_path):
    lines[3] |= {"verdict": "reject", "editor": "ann"}
    after = run(tmp_path / "work", data, mesh1, write(tmp_path / "reviewed.jsonl", lines))
    assert after == rows(sent / "samples.jsonl")[:3]
    table = json.loads((tmp_path / "work" / "table.json").read_text())
    assert table["review"] == {"not reviewed": 3, "reject": 1}


def refused(sent, data, mesh, path: pathlib.Path) -> str:
    before = (sent / "samples.jsonl").read_bytes()
    with pytest.raises(ConfigError) as error:
        run(sent, data, mesh, path)
    assert (sent / "samples.jsonl").read_bytes() == before
    return str(error.value)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"verdict": "ok", "editor": "ann"}, "verdict 'ok', should be one of: accept, edit, reject"),
        ({"verdict": "accept"}, "without an editor"),
        ({"verdict": "accept", "editor": "ann", "thought": "Another one, which says more."}, "thought is changed"),
        ({"verdict": "reject", "editor": "ann", "summary": "9"}, "summary is changed: write edit"),
        ({"thought": "Another one.", "summary": "9"}, "no verdict, and the thought and the summary is changed"),
        ({"verdict": "edit", "editor": "ann"}, "neither thought nor summary is changed"),
        ({"verdict": "edit", "editor": "ann", "summary": " "}, "cannot be used: without a thought or an answer"),
        ({"verdict": "edit", "editor": "ann", "summary": "a || b"}, "cannot be used: holds the marker"),
        ({"verdict": "edit", "editor": "ann", "thought": "二加三等于五，再检查一遍，没有错，结果就是五。"}, "language"),
        ({"verdict": "edit", "editor": "ann", "thought": "Short."}, "cannot be used: thought too short"),
        (
            {"verdict": "edit", "editor": "ann", "summary": "They make \\boxed{8}."},
            "graded 'wrong', its answer should be",
        ),
        ({"prompt": "What is 2?"}, "the prompt is changed"),
        ({"id": "sums.jsonl:9"}, "no sample has the id 'sums.jsonl:9'; nearest: sums.jsonl:"),
        ({"id": "sums.jsonl:1"}, "id 'sums.jsonl:1' is already that of line 1"),
        ({"verdict": None}, "'verdict' is None, should be a string"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_by_its_number(sent, data, lines, mesh1, tmp_path, change, said):
    lines[1] |= change
    error = refused(sent, data, mesh1, write(tmp_path / "reviewed.jsonl", lines))
    assert "1 lines" in error and "reviewed.jsonl:2: " in error and said in error, error


@pytest.mark.parametrize(
    "line, said",
    [
        ('{"id": "sums.jsonl:2", "verd\n', "not JSON"),
        ("[1]\n", "a list, should be an object with id, prompt"),
        ('{"id": "sums.jsonl:2", "prompt": "x"}\n', "no 'thought'; it has: "),
    ],
)
def test_a_line_that_is_no_review_is_refused_by_its_number(sent, data, lines, mesh1, tmp_path, line, said):
    error = refused(sent, data, mesh1, write(tmp_path / "reviewed.jsonl", [lines[0], "\n", line, lines[3]]))
    assert "reviewed.jsonl:3: " in error and said in error


def test_all_faults_are_told_at_once_and_many_of_them_in_part(sent, data, lines, mesh1, tmp_path):
    lines[0]["verdict"], lines[3]["verdict"] = "yes", "no"
    error = refused(sent, data, mesh1, write(tmp_path / "reviewed.jsonl", lines))
    assert "2 lines" in error and "reviewed.jsonl:1: " in error and "reviewed.jsonl:4: " in error
    error = refused(sent, data, mesh1, write(tmp_path / "reviewed.jsonl", [lines[0]] * 30))
    assert "30 lines" in error and error.endswith("and 10 more")


def test_an_editors_work_is_never_written_over(sent, data, lines, mesh1, tmp_path):
    workdir = tmp_path / "work"
    run(workdir, data, mesh1)
    run(workdir, data, mesh1)  # untouched, it goes out again
    lines[0] |= {"note": "what a long one"}
    worked_on = write(workdir / "review_out.jsonl", lines)
    before = worked_on.read_bytes()
    with pytest.raises(ConfigError, match="holds verdicts"):
        run(workdir, data, mesh1)
    assert worked_on.read_bytes() == before
    run(workdir, data, mesh1, worked_on)  # in place will do
    assert worked_on.read_bytes() == before


def test_a_review_that_is_not_there_is_told_before_anything_is_done(data, mesh1, tmp_path):
    write(tmp_path / "reviewed.jsonl", [])
    with pytest.raises(FileNotFoundError, match=r"nearest in .*: reviewed\.jsonl"):
        run(tmp_path / "work", data, mesh1, tmp_path / "reviwed.jsonl")
    assert not (tmp_path / "work").exists()


def test_white_space_is_no_change_under_accept(sent, data, lines, mesh1, tmp_path):
    lines[0] |= {"verdict": "accept", "editor": "ann", "thought": lines[0]["thought"].replace(" ", "  ") + "\n"}
    after = run(tmp_path / "work", data, mesh1, write(tmp_path / "reviewed.jsonl", lines))
    assert after[0]["response"] == rows(sent / "samples.jsonl")[0]["response"]
    assert review.VERDICTS[0] == after[0]["provenance"]["verdict"]
