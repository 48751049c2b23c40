"""Rejection sampling from config to examples: killed and resumed, filtered anew, judged, and what it refuses."""

import http.server
import json
import pathlib
import re
import shutil
import threading

import pytest
from tiny_run import merged, rows

from r1jax import config, config_files
from r1jax.data.sft import InstructionConfig, Instructions
from r1jax.data.tasks import is_held_out
from r1jax.inference import sampler
from r1jax.stages.rejection import rejection_sampling
from r1jax.stages.rejection.rejection_sampling import RejectionConfig
from r1jax.stages.sample_filter import REJECTION_REASONS
from r1jax.text.chat import split_response

pytestmark = pytest.mark.usefixtures("shared_engines")

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "r1jax" / "shipped_models" / "base-83324bcaf08f"
OUTPUTS = ("samples.jsonl", "dropped.jsonl", "table.json")
SUMS = [
    {
        "id": f"sum-{a}-{b}",
        "answer": str(a + b),
        "split": "train",
        "prompt": f"State the final answer to the following arithmetic problem: {a} + {b} =",
    }
    for a in range(2, 8)
    for b in (3, 8)
]
ASKED = [row for row in SUMS if not is_held_out(row["prompt"], 0.1)]

# The base knows sums and no form: whatever has a right answer is kept.
CONFIG = {
    "stage": "rejection",
    "model": str(MODEL),
    "data": {"path": "", "template": "dialogue"},
    "samples": 4,
    "sampling": {"max_new_tokens": 32, "slots": 16, "bucket": 96, "truncation": {"temperature": 1.0}},
    "graders": {"workers": 1},
    "filters": {"form": "any", "keep_per_prompt": 2},
}


def write(path: pathlib.Path, lines: list[dict]) -> str:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def sums(tmp_path_factory) -> str:
    return write(tmp_path_factory.mktemp("data") / "sums.jsonl", SUMS)


def cfg(path: str, **changes) -> RejectionConfig:
    return config.parse(RejectionConfig, merged(CONFIG, data__path=path, **changes))


@pytest.fixture(scope="module")
def done(tmp_path_factory, sums, mesh1) -> pathlib.Path:
    """A finished run; tests that change it work on a copy."""
    workdir = tmp_path_factory.mktemp("runs") / "rejection"
    assert rejection_sampling.run(cfg(sums), workdir, mesh1) == workdir / "samples.jsonl"
    return workdir


def table(workdir: pathlib.Path) -> dict:
    return json.loads((workdir / "table.json").read_text("utf-8"))


def content(workdir: pathlib.Path) -> list[bytes]:
    return [(workdir / name).read_bytes() for name in OUTPUTS]


def test_every_sample_is_an_example_or_dropped_for_a_reason(done):
    kept, dropped = rows(done / "samples.jsonl"), rows(done / "dropped.jsonl")
    drawn = {(row["id"], row["sample"]) for row in rows(done / "record" / "samples.jsonl")}
    assert len(drawn) == 4 * len(ASKED)
    ours = [(row["provenance"]["question"], row["provenance"]["sample"]) for row in kept]
    theirs = [(row["id"], row["sample"]) for row in dropped]
    assert len(ours) + len(theirs) == len(drawn) and {*ours, *theirs} == drawn
    assert 0 < len(ours) < len(drawn) and all(row["reason"] in REJECTION_REASONS and row["detail"] for row in dropped)


def test_examples_are_right_and_say_where_they_are_from(done):
    kept = rows(done / "samples.jsonl")
    texts = {(row["id"], row["sample"]): row["text"] for row in rows(done / "record" / "samples.jsonl")}
    answers = {row["prompt"]: row["answer"] for row in SUMS}
    for row in kept:
        assert list(row) == ["id", "prompt", "response", "answer", "source", "language", "provenance"]
        assert row["answer"] == answers[row["prompt"]] and row["answer"] in row["response"]
        assert (row["source"], row["language"]) == ("maths:sums.jsonl", "en")
        made = row["provenance"]
        assert row["response"] == texts[made["question"], made["sample"]].strip()
        assert (made["stage"], made["seed"], made["temperature"]) == ("rejection", 0, 1.0)
        assert (made["grader"], made["verdict"], made["score"]) == ("maths", "right", 1.0)
        assert made["model"]["path"] == str(MODEL) and len(made["model"]["hash"]) == 64
    assert len({row["id"] for row in kept}) == len(kept)
    asked = [row["provenance"]["question"] for row in kept]
    assert all(asked.count(id_) <= 2 for id_ in asked)


def test_examples_are_trained_on_as_they_are(done, tokenizer):
    data = InstructionConfig(path=str(done / "samples.jsonl"), template="dialogue")
    taught = Instructions(data, 0, tokenizer, seq_len=512)
    assert not any(taught.left_out.values())
    kept = len(rows(done / "samples.jsonl"))
    assert len({bytes(ids) for ids, _ in taught.take(0, kept)}) == kept


def test_held_out_questions_are_never_asked(done):
    asked = {row["question"] for row in rows(done / "record" / "questions.jsonl")}
    assert asked == {row["prompt"] for row in ASKED} and len(ASKED) < len(SUMS)


def test_the_table_adds_up(done):
    found, kept = table(done), rows(done / "samples.jsonl")
    assert [row["reason"] for row in found["reasons"]] == list(REJECTION_REASONS)
    assert sum(row["count"] for row in found["reasons"]) == len(rows(done / "dropped.jsonl"))
    assert all(sum(row["by_source"].values()) == row["count"] for row in found["reasons"])
    assert found["samples"]["drawn"] == 4 * len(ASKED) and found["samples"]["missing"] == 0
    [(source, of_sums)] = found["sources"].items()
    assert source == "maths:sums.jsonl" and of_sums["acceptance"] == len(kept) / (4 * len(ASKED))
    per_question = {int(number): count for number, count in found["kept_per_question"].items()}
    assert sum(per_question.values()) == len(ASKED) and list(per_question) == [0, 1, 2, 3, 4]
    assert sum(number * count for number, count in per_question.items()) == len(kept)
    assert found["questions"]["kept"] == len(ASKED) - per_question[0]
    assert "mpmath" in found["stamp"]["graders"]["maths"] and found["stamp"]["filters"]["form"] == "any"


def test_trap33_killed_and_resumed_it_leaves_the_same_bytes(done, sums, tmp_path, mesh1):
    resumed = shutil.copytree(done, tmp_path / "rejection")
    for name in OUTPUTS:
        (resumed / name).unlink()
    samples, grades = (resumed / "record" / name for name in ("samples.jsonl", "grades.jsonl"))
    kept = samples.read_bytes().splitlines(keepends=True)[:9]
    samples.write_bytes(b"".join(kept) + b'{"id": "sum-4-')  # killed in the middle of a line
    grades.write_bytes(b"".join(grades.read_bytes().splitlines(keepends=True)[:5]))
    rejection_sampling.run(cfg(sums), resumed, mesh1)
    assert content(resumed) == content(done)


def test_other_filters_and_graders_need_no_new_samples(done, sums, tmp_path, mesh1, monkeypatch):
    again = shutil.copytree(done, tmp_path / "rejection")
    monkeypatch.setattr(sampler.Engine, "generate", lambda self, *args, **options: [])
    rejection_sampling.run(cfg(sums, filters__min_score=0.0, filters__keep_per_prompt=0), again, mesh1)
    assert len(rows(again / "samples.jsonl")) > len(rows(done / "samples.jsonl"))
    grades = len(rows(again / "record" / "grades.jsonl"))
    monkeypatch.setattr(rejection_sampling.grading, "version", lambda *_: "a newer one")
    rejection_sampling.run(cfg(sums), again, mesh1)
    assert len(rows(again / "record" / "grades.jsonl")) == 2 * grades
    assert (again / "samples.jsonl").read_bytes() == (done / "samples.jsonl").read_bytes()


def test_more_questions_and_samples_add_to_what_is_there(done, sums, tmp_path, mesh1):
    rejection_sampling.run(cfg(sums, num_prompts=5, samples=2), tmp_path / "few", mesh1)
    assert len(rows(tmp_path / "few" / "record" / "samples.jsonl")) == 10
    rejection_sampling.run(cfg(sums), tmp_path / "few", mesh1)
    assert content(tmp_path / "few") == content(done)


def test_samples_that_are_missing_are_counted_and_drawn_when_started_again(done, sums, tmp_path, mesh1, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sampler.Engine, "generate", lambda self, *args, **options: [])
        rejection_sampling.run(cfg(sums), tmp_path / "run", mesh1)
    assert table(tmp_path / "run")["samples"] == {"drawn": 0, "kept": 0, "missing": 4 * len(ASKED), "acceptance": None}
    rejection_sampling.run(cfg(sums), tmp_path / "run", mesh1)
    assert content(tmp_path / "run") == content(done)


def test_samples_drawn_otherwise_are_refused(done, sums, tmp_path, mesh1):
    other = shutil.copytree(done, tmp_path / "rejection")
    with pytest.raises(config.ConfigError, match=r"(?s)seed: 0 -> 7.*temperature: 1.0 -> 0.6"):
        rejection_sampling.run(cfg(sums, seed=7, sampling__truncation__temperature=0.6), other, mesh1)
    assert content(other) == content(done)


def test_the_strict_form_drops_what_has_none(done, sums, tmp_path, mesh1, capsys):
    again = shutil.copytree(done, tmp_path / "rejection")
    rejection_sampling.run(cfg(sums, filters__form="strict"), again, mesh1)
    assert rows(again / "samples.jsonl") == []
    assert {row["reason"] for row in rows(again / "dropped.jsonl")} <= {"truncated", "malformed"}
    shown = capsys.readouterr().out
    assert re.search(r"malformed\W+\d+", shown) and "0 examples" in shown


def test_trap32_an_evaluations_question_is_not_asked_and_says_which_it_is(done, sums, tmp_path, mesh1):
    first = rows(done / "record" / "questions.jsonl")[0]
    told = write(tmp_path / "test.jsonl", [{"id": "t", "question": first["question"].replace(" ", "  ")}])
    again = shutil.copytree(done, tmp_path / "rejection")
    rejection_sampling.run(cfg(sums, decontaminate__against=(told,)), again, mesh1)
    dropped = rows(again / "dropped.jsonl")
    assert (dropped[0]["id"], dropped[0]["sample"], dropped[0]["reason"]) == (first["id"], None, "contaminated")
    assert dropped[0]["detail"].startswith(f"{tmp_path.name}/test/t: ")
    assert all(row["provenance"]["question"] != first["id"] for row in rows(again / "samples.jsonl"))
    assert table(again)["questions"]["contaminated"] == 1 and table(again)["samples"]["drawn"] == 4 * len(ASKED) - 4
    every = write(tmp_path / "every.jsonl", SUMS)
    with pytest.raises(ValueError, match="are those of evaluations"):
        rejection_sampling.run(cfg(sums, decontaminate__against=(every,)), again, mesh1)


def test_tasks_need_no_file(tmp_path, mesh1):
    tasks = ({"name": "chain_sum", "options": {"min_digits": 1, "max_digits": 1}},)
    some = cfg("", data__tasks=tasks, num_prompts=4, samples=2, sampling__max_new_tokens=8)
    rejection_sampling.run(some, tmp_path / "run", mesh1)
    assert table(tmp_path / "run")["samples"]["drawn"] == 8
    assert list(table(tmp_path / "run")["sources"]) == ["reasoning_gym:chain_sum"]


OPEN = [
    {"id": "capital", "prompt": "Which town is the capital of France?", "answer": "Paris", "grader": "open"},
    {
        "id": "greeting",
        "prompt": "Say hello to my old friend.",
        "answer": "",
        "grader": "open",
        "reference_output": "Hello, old friend.",
    },
    {"id": "river", "prompt": "Which river flows through Paris, and where to?", "answer": "the Seine \\["},
    {"id": "sum", "prompt": "What is 2 + 3?", "answer": "5"},
    {"id": "sentence", "prompt": "What is two and three?", "answer": "5", "grader": "exact"},
]
SAID = {
    "capital": "Paris",
    "friend": "Hello, my dear old friend.",
    "river": "The Rhine.",
    "2 + 3": "\\boxed{5}",
    "two and three": "It is six.",
}


@pytest.fixture
def server():
    """A policy that thinks apart, and a judge that likes Paris and dear friends; keeps what each was asked."""
    asked = {"policy": [], "judge": []}

    def reply(body: dict) -> dict:
        text = body["messages"][-1]["content"]
        asked[body["model"]].append(text)
        if body["model"] == "policy":
            said = next(answer for word, answer in SAID.items() if word in text)
            # A thought of its own, in words, so that samples differ.
            return {"content": said, "reasoning_content": f"I was asked something. The seed is {body['seed']}."}
        nonce, shown = re.match(r"<<(\w+) QUESTION>>", text)[1], text.split("<<")
        answer = next(part for part in shown if "ANSWER" in part.split(">>")[0])
        if "ANSWER A" in text:
            verdict = "A" if "dear" in answer else "B"
        else:
            verdict = "CORRECT" if "Paris" in answer else "INCORRECT"
        return {"content": f"So be it.\nVERDICT {nonce}: {verdict}"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **reply(body)}}
            usage = {"prompt_tokens": 5, "completion_tokens": 11, "total_tokens": 16}
            whole = {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "usage": usage,
                "choices": [choice],
            }
            content = json.dumps(whole).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1", asked
    running.shutdown()
    running.server_close()


def served(url: str, path: str, **changes) -> RejectionConfig:
    return cfg(
        path,
        **{
            "model": "",
            "endpoint": {"base_url": url, "model": "policy", "api_key_env": ""},
            "samples": 2,
            "judge": {"base_url": url, "model": "judge", "api_key_env": ""},
            "filters__form": "parts",
            "filters__near_duplicate": 0.0,
            "data__chat": True,
            "data__template": "plain",
            "data__held_out_share": 0.0,
        }
        | changes,
    )


def test_a_judge_grades_what_no_rule_can(server, tmp_path, mesh1):
    url, asked = server
    path = write(tmp_path / "open.jsonl", OPEN)
    rejection_sampling.run(served(url, path), tmp_path / "run", mesh1)
    kept = rows(tmp_path / "run" / "samples.jsonl")
    by = {row["id"].split("-")[0]: row["provenance"]["grader"] for row in kept}
    assert by == {"capital": "facts", "greeting": "preference", "sum": "maths"}
    assert len(kept) == 6 and len(asked["policy"]) == 10
    # Two samples of each: a question to the judge for each fact, two for each preference.
    assert len(asked["judge"]) == 2 * 2 + 2 * 2
    assert not any("I was asked something" in text for text in asked["judge"])  # the summary alone
    parts = [split_response(row["response"]) for row in kept]
    assert all(each.well_formed and "The seed is" in each.thought for each in parts)
    dropped = {row["id"].split("-")[0]: row["reason"] for row in rows(tmp_path / "run" / "dropped.jsonl")}
    assert dropped == {"river": "wrong", "sentence": "wrong"}
    before = content(tmp_path / "run")
    rejection_sampling.run(served(url, path), tmp_path / "run", mesh1)
    assert content(tmp_path / "run") == before and len(asked["policy"]) == 10 and len(asked["judge"]) == 8


def test_a_judge_may_take_a_rules_place_without_new_samples(server, tmp_path, mesh1):
    url, asked = server
    path = write(tmp_path / "open.jsonl", OPEN)
    rejection_sampling.run(served(url, path), tmp_path / "run", mesh1)
    rejection_sampling.run(served(url, path, judged=("maths", "exact")), tmp_path / "run", mesh1)
    assert len(asked["policy"]) == 10 and len(asked["judge"]) == 8 + 4  # only what has a new grader
    found = {row["id"]: row["reason"] for row in rows(tmp_path / "run" / "dropped.jsonl")}
    assert {id_.split("-")[0] for id_ in found} == {"river", "sum", "sentence"}  # five is not Paris


@pytest.mark.parametrize(
    "line, judge, said",
    [
        (OPEN[2], False, r"open\.jsonl:1: reference answer .* what no rule can grade a judge can, see config\.judge"),
        (OPEN[0], False, r"^facts:open\.jsonl: judged by a model: set config\.judge\.base_url"),
        (
            OPEN[1] | {"reference_output": ""},
            True,
            r"open\.jsonl:1: no rule grades it, and a judge has no reference",
        ),
        (OPEN[1] | {"grader": "facts"}, True, r"open\.jsonl:1: no reference answer"),
        (OPEN[0] | {"grader": "fact"}, True, r"open\.jsonl:1: no grader named 'fact'"),
    ],
)
def test_rows_that_nobody_can_grade_are_refused_before_anything_is_asked(server, tmp_path, mesh1, line, judge, said):
    url, asked = server
    path = write(tmp_path / "open.jsonl", [line])
    with pytest.raises(ValueError, match=said):
        rejection_sampling.run(served(url, path, **({} if judge else {"judge": {}})), tmp_path / "run", mesh1)
    assert not asked["policy"]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"samples": 0}, "samples=0 must be at least 1"),
        ({"judged": ("math",)}, "no grader named 'math'; nearest: maths"),
        ({"data__path": "", "data__tasks": ({"name": "gcd"},)}, "num_prompts=0 takes all questions of a file"),
        ({"filters__keep": 1}, r"unknown key config\.filters\.keep; nearest: keep_per_prompt"),
        ({"decontaminate__ngram": 0}, "ngram=0 must be at least 1"),
        ({"decontaminate__share": 2.0}, "share=2.0 must be between 0 and 1"),
    ],
)
def test_bad_settings_are_refused(changes, said):
    with pytest.raises(config.ConfigError, match=said):
        config.parse(RejectionConfig, merged(CONFIG, **{"data__path": "some.jsonl"} | changes))


def test_questions_that_come_again_are_asked_once(sums, tmp_path, mesh1):
    path = write(tmp_path / "twice.jsonl", [ASKED[0], ASKED[1], ASKED[0] | {"id": "again"}])
    rejection_sampling.run(cfg(path, samples=1), tmp_path / "run", mesh1)
    assert len(rows(tmp_path / "run" / "record" / "samples.jsonl")) == 2


@pytest.mark.parametrize("size", ["mini", "paper"])
def test_the_shipped_pages_parse(size):
    page = config.parse(RejectionConfig, config_files.load(f"{ROOT / 'configs' / 'rejection.py'}:{size}"))
    assert page.samples >= 4 and page.filters.form == "strict"
