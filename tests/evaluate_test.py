"""Evaluations from config to result: stopped ones go on, newer graders need no samples, servers are asked too."""

import http.server
import json
import pathlib
import shutil
import threading

import pytest

from r1jax.evaluation.evaluate import samples_for
from r1jax.graders import grader_table
from r1jax.inference import sampler
from r1jax.tools import train

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "configs" / "evaluate.py"
MODEL = ROOT / "r1jax" / "shipped_models" / "base-83324bcaf08f"
SUMS = [{"id": f"sum-{i}", "question": f"{i} + {i + 1} = ?", "answer": f"It is\n#### {2 * i + 1}"} for i in range(5)]

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """Sums in GSM8K's own layout."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    return folder


def run(workdir: pathlib.Path, data: pathlib.Path, *more: str, names="", model: pathlib.Path | str = MODEL) -> int:
    settings = {
        "model": str(model),
        "data": str(data),
        "chat": "false",
        "template": "r1_zero",
        "samples": "3",
        "sampling.max_new_tokens": "24",
        "sampling.slots": "8",
        "sampling.bucket": "192",
        "graders.workers": "1",
    }
    return train.main(
        [
            f"--config={PAGE}:{names or f'gsm8k={data}/sums.jsonl'}",
            f"--workdir={workdir}",
            *(f"--config.{key}={value}" for key, value in settings.items()),
            *more,
        ]
    )


def lines(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def done(tmp_path_factory, data) -> pathlib.Path:
    """A finished evaluation; tests that change it work on a copy."""
    with pytest.MonkeyPatch.context():
        workdir = tmp_path_factory.mktemp("results") / "base"
        assert run(workdir, data) == 0
    return workdir


def test_a_result_says_what_it_found_and_how_it_was_made(done):
    result = json.loads((done / "gsm8k" / "result.json").read_text())
    samples, grades = lines(done / "gsm8k" / "samples.jsonl"), lines(done / "gsm8k" / "grades.jsonl")
    assert len(samples) == len(grades) == 15 and result["n"] == 5 and result["k"] == 3
    scores = {(row["id"], row["sample"]): row["score"] for row in grades}
    assert result["figures"]["pass@1"]["value"] == pytest.approx(sum(scores.values()) / 15)  # trap 29
    assert {"pass@1", "pass@3", "cons@3"} == set(result["figures"])
    assert result["rates"]["truncated"] == sum(row["finish"] == "length" for row in samples) / 15
    assert [row["k"] for row in result["by_k"]] == [1, 2, 3]
    stamp = result["stamp"]
    assert (stamp["seed"], stamp["temperature"], stamp["top_p"], stamp["max_new_tokens"]) == (0, 0.6, 0.95, 24)
    assert len(stamp["model"]["hash"]) == 64 and len(stamp["data"]["hash"]) == 16
    assert "mpmath" in stamp["grader"] and stamp["libraries"]["jax"] and "{prompt}" in stamp["instruction"]
    questions = lines(done / "gsm8k" / "questions.jsonl")
    assert {q["answer"] for q in questions} == {"1", "3", "5", "7", "9"}
    assert all("conversation between User" in q["text"] and "\\boxed{}" in q["text"] for q in questions)


def test_a_killed_evaluation_goes_on_where_it_stopped(done, data, tmp_path):
    resumed = shutil.copytree(done, tmp_path / "base")
    samples = resumed / "gsm8k" / "samples.jsonl"
    complete_lines = samples.read_bytes().splitlines(keepends=True)[:6]
    samples.write_bytes(b"".join(complete_lines) + b'{"id": "sum-4", "sam')  # killed in the middle of a line
    grades = resumed / "gsm8k" / "grades.jsonl"
    grades.write_bytes(b"".join(grades.read_bytes().splitlines(keepends=True)[:4]))
    assert run(resumed, data) == 0
    key = {(row["id"], row["sample"]): row["text"] for row in lines(done / "gsm8k" / "samples.jsonl")}
    whole = samples.read_bytes().split(b"\n")
    again = [json.loads(line) for line in whole if line and not line.endswith(b'"sam')]
    assert {(row["id"], row["sample"]): row["text"] for row in again} == key and len(again) == 15
    results = [json.loads((each / "gsm8k" / "result.json").read_text()) for each in (done, resumed)]
    assert results[0] == results[1]


def test_a_newer_grader_needs_no_new_samples(done, data, tmp_path, monkeypatch, capsys):
    again = shutil.copytree(done, tmp_path / "base")
    before = (again / "gsm8k" / "samples.jsonl").read_bytes()
    monkeypatch.setattr(grader_table, "version", lambda name: "a newer one")
    monkeypatch.setattr(sampler.Engine, "generate", lambda self, *args, **options: [])
    assert run(again, data) == 0
    assert "15 samples that are there are graded" in capsys.readouterr().out
    assert (again / "gsm8k" / "samples.jsonl").read_bytes() == before
    assert len(lines(again / "gsm8k" / "grades.jsonl")) == 30
    results = [json.loads((each / "gsm8k" / "result.json").read_text()) for each in (done, again)]
    assert results[0]["figures"] == results[1]["figures"]
    assert results[1]["stamp"]["grader"] == "maths a newer one"


def test_more_samples_and_more_questions_add_to_what_is_there(done, data, tmp_path):
    few = tmp_path / "few"
    assert run(few, data, "--config.questions=3", "--config.samples=2") == 0
    assert len(lines(few / "gsm8k" / "samples.jsonl")) == 6
    assert run(few, data) == 0
    assert len(lines(few / "gsm8k" / "samples.jsonl")) == 15
    results = [json.loads((each / "gsm8k" / "result.json").read_text()) for each in (done, few)]
    assert results[0]["figures"] == results[1]["figures"]


def test_samples_drawn_otherwise_are_refused_and_left_alone(done, data, tmp_path, capsys):
    other = shutil.copytree(done, tmp_path / "base")
    before = (other / "gsm8k" / "samples.jsonl").read_bytes()
    assert run(other, data, "--config.sampling.truncation.temperature=1.0", "--config.seed=7") == 2
    error = capsys.readouterr().err
    assert "seed: 0 -> 7" in error and "temperature: 0.6 -> 1.0" in error and "--workdir" in error
    assert (other / "gsm8k" / "samples.jsonl").read_bytes() == before


def test_tasks_of_reasoning_gym_are_benchmarks_without_data(data, tmp_path):
    workdir = tmp_path / "mini"
    assert (
        train.main(
            [
                f"--config={PAGE}:mini",
                f"--workdir={workdir}",
                f"--config.model={MODEL}",
                "--config.samples=2",
                "--config.task_questions=4",
                "--config.sampling.max_new_tokens=24",
                "--config.sampling.slots=8",
                "--config.sampling.bucket=192",
            ]
        )
        == 0
    )
    for name in ("chain_sum", "gcd", "aiw"):
        result = json.loads((workdir / f"reasoning_gym_{name}" / "result.json").read_text())
        assert (result["group"], result["n"], result["k"]) == ("logic", 4, 2) and "cons@2" in result["figures"]


@pytest.mark.parametrize(
    "names, more, message",
    [
        ("gsm8', ", (), "nearest: gsm8k"),
        ("gsm8k", (), "no file"),
        ("simpleqa=DATA/facts.jsonl", (), "config.judge.base_url"),
        ("gsm8k=DATA/sums.jsonl,gsm8k=DATA/sums.jsonl", (), "named twice: gsm8k"),
        (
            "gsm8k=DATA/sums.jsonl",
            ("--config.endpoint.base_url=http://x", "--config.endpoint.model=m"),
            "which one model",
        ),
        ("math500=DATA/sums.jsonl", (), "no 'problem'"),
        ("gsm8k=DATA/bad.jsonl", (), "bad.jsonl:2: reference answer 'none'"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error_before_anything_is_drawn(data, tmp_path, capsys, names, more, message):
    (data / "facts.jsonl").write_text('{"problem": "Who?", "answer": "She"}\n')
    (data / "bad.jsonl").write_text('{"prompt": "1?", "answer": "1"}\n{"prompt": "2?", "answer": "none of \\\\["}\n')
    assert run(tmp_path / "none", data, *more, names=names.replace("DATA", str(data))) == 2
    assert message.replace("'none'", "'none of") in capsys.readouterr().err
    assert not list((tmp_path / "none").glob("*/samples.jsonl"))


def test_a_benchmark_of_ones_own_is_one_short_file(data, tmp_path):
    own_benchmark = tmp_path / "mine.py"
    own_benchmark.write_text("""
from r1jax.benchmarks.benchmark import Benchmark


def adapt(row):
    return {"prompt": row["question"] + " {braces}", "answer": row["answer"][-1]}


BENCHMARK = Benchmark("Mine", "maths", "maths", "sums.jsonl", adapt, instruction="{prompt}!")
""")
    assert run(tmp_path / "results", data, "--config.questions=2", "--config.samples=1", names=str(own_benchmark)) == 0
    result = json.loads((tmp_path / "results" / "mine" / "result.json").read_text())
    assert (result["title"], result["n"], set(result["figures"])) == ("Mine", 2, {"pass@1"})
    assert "{braces}!" in lines(tmp_path / "results" / "mine" / "questions.jsonl")[0]["text"]


def test_replies_to_open_requests_are_drawn_and_have_no_score(data, tmp_path):
    row = {"id": "o", "prompt": "Hello, I am Bob.", "answer": "Hello Bob.", "grader": "open", "kind": "greeting"}
    (tmp_path / "general.jsonl").write_text(json.dumps(row) + "\n")
    folder = tmp_path / "results" / "world_open"
    assert run(tmp_path / "results", data, names=f"world_open={tmp_path}/general.jsonl") == 0
    assert len(lines(folder / "samples.jsonl")) == 3
    result = json.loads((folder / "result.json").read_text())
    assert (result["n"], result["samples"], result["figures"]["pass@1"]["value"]) == (0, 3, None)
    assert result["rates"]["ungradable"] == 1.0


def test_an_r1jax_model_is_asked_as_it_was_trained_and_by_no_missing_template(data, tmp_path, capsys):
    options = [
        "--config.samples=1",
        "--config.questions=2",
        "--config.sampling.max_new_tokens=24",
        "--config.sampling.slots=8",
        "--config.sampling.bucket=192",
        "--config.graders.workers=1",
    ]

    def evaluate(name: str, model: pathlib.Path, *more: str) -> int:
        return train.main(
            [
                f"--config={PAGE}:gsm8k={data}/sums.jsonl",
                f"--workdir={tmp_path / name}",
                f"--config.model={model}",
                *options,
                *more,
            ]
        )

    assert evaluate("told", MODEL) == 0
    assert (
        f"{MODEL} uses the prompt format that its folder records: template='r1_zero', chat=False"
        in capsys.readouterr().out
    )
    assert "conversation between User" in lines(tmp_path / "told/gsm8k/questions.jsonl")[0]["text"]
    assert evaluate("otherwise", MODEL, "--config.chat=true") == 2
    assert "config.chat=true, and the model has no chat template: set config.chat=false" in capsys.readouterr().err
    silent = shutil.copytree(MODEL, tmp_path / "silent", ignore=shutil.ignore_patterns("prompt_form*", "checksums*"))
    assert evaluate("silent_results", silent) == 0
    assert f"{silent} records no prompt format: the run uses config.template" in capsys.readouterr().out
    assert "conversation" not in lines(tmp_path / "silent_results/gsm8k/questions.jsonl")[0]["text"]


def test_k_grows_as_sets_shrink():
    assert [samples_for(n) for n in (30, 100, 101, 500, 501, 1319)] == [64, 64, 16, 16, 8, 4]


@pytest.fixture
def server():
    """A chat endpoint that knows sums, keeps its thought apart, and fails now and then at first."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(body)
            left, _, right = body["messages"][0]["content"].split(" = ?")[0].rpartition(" + ")
            text = f"The answer is \\boxed{{{int(left.split()[-1]) + int(right)}}}."
            message = {"role": "assistant", "content": text, "reasoning_content": "I add \\boxed{0}."}
            reply = {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "usage": {
                    "prompt_tokens": 5,
                    "completion_tokens": 11,
                    "total_tokens": 16,
                },
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            }
            content = json.dumps(reply).encode()
            self.send_response(500 if len(seen) == 2 else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1", seen
    running.shutdown()
    running.server_close()


def test_a_model_behind_a_server_is_evaluated_alike(server, data, tmp_path):
    url, seen = server
    options = [
        f"--config.endpoint.base_url={url}",
        "--config.endpoint.model=m",
        "--config.endpoint.api_key_env=",
        "--config.samples=2",
        "--config.chat=true",
        "--config.template=plain",
    ]
    assert run(tmp_path / "served", data, *options, model="") == 0
    result = json.loads((tmp_path / "served" / "gsm8k" / "result.json").read_text())
    # The thought's own box does not count, and the failed request was sent again.
    assert result["figures"]["pass@1"]["value"] == 1.0 and result["n"] == 5 and len(seen) == 11
    assert result["length"]["mean"] == 11 and result["stamp"]["model"] == {"endpoint": url, "name": "m"}
    assert all(body["temperature"] == 0.6 and body["top_p"] == 0.95 and body["max_tokens"] == 24 for body in seen)
    assert len({body["seed"] for body in seen}) == 10
    usage = (tmp_path / "served" / "usage.json").read_text()
    assert json.loads(usage) == {"replies": 10, "prompt_tokens": 50, "completion_tokens": 110, "untold": 0}
    # Nothing is left to ask, and what it cost is known all the same.
    assert run(tmp_path / "served", data, *options, model="") == 0 and len(seen) == 11
    assert (tmp_path / "served" / "usage.json").read_text() == usage
