"""Runs on disk, and the parse of an HTML page: for the tests of reports."""

import html.parser
import json
import math
from pathlib import Path


def evaluation(step: int, accuracy: float, **changes) -> dict:
    row = {
        "step": step,
        "n": 200,
        "k": 4,
        "pass@1": accuracy,
        "stderr": 0.02,
        "cons@k": min(1.0, accuracy + 0.05),
        "cons_stderr": 0.03,
        "truncated": 0.05,
        "format": 0.1 + 0.9 * step / 100,
        "pass@1_if_well_formed": accuracy,
        "length": 40.0 + step / 2,
        "reflection": 0.1 + step / 200,
        "temperature": 0.6,
        "top_p": 0.95,
        "by_source": {
            "reasoning_gym:chain_sum": {"n": 120, "pass@1": accuracy, "stderr": 0.03},
            "reasoning_gym:countdown": {"n": 80, "pass@1": accuracy / 2, "stderr": 0.04},
        },
    }
    return {**row, **changes}


def metric(step: int) -> dict:
    noise = math.sin(7.3 * step) / 20
    done = 1 / (1 + math.exp(4 - step / 10))
    return {
        "step": step,
        "reward/total": 2 * done + noise,
        "reward/accuracy": done + noise,
        "reward/format": done,
        "verdict/right": done,
        "verdict/wrong": 1 - done,
        "verdict/timeout": 0.0,
        "length/mean": 40 + 50 * done + 40 * noise,
        "length/max": 128,
        "length/truncated": 0.05 * (1 - done),
        "reflection/share": 0.5 * done,
        "reflection/per_response": done + noise + 0.1,
        "language/mixed": 0.1 * (1 - done),
        "language/chinese": 0.3 * (1 - done),
        "kl": done / 10,
        "entropy": 1.2 - done,
        "clip/rate": 0.004 + noise / 50,
        "groups/no_signal": 1 - done,
        "loss": noise,
        "grad_norm": 1 + noise,
        "sampler_gap/mean": 1e-6 + abs(noise) * 1e-6,
        "sampler_gap/max": 3e-5,
        "learning_rate": 1e-3,
        "tokens_per_s": 5000 - 4000 * (step == 0),
        "time/sample": 1.5,
        "time/grade": 0.1,
        "time/score": 0.4,
        "time/update": 1.8,
        "time/eval": 8.0 * (step % 20 == 0),
        "time/save": 0.1,
    }


def sample(question: int, source: str, text: str, **changes) -> dict:
    row = {
        "id": f"heldout-{source}-{question}",
        "question": f"What is {question} + {question}?",
        "answer": str(2 * question),
        "source": f"reasoning_gym:{source}",
        "sample": 0,
        "text": text,
        "thought": "",
        "final": text,
        "correct": 0,
        "finish": "stop",
        "num_tokens": 31,
        "well_formed": False,
    }
    return {**row, **changes}


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(workdir: Path, evals: list[dict] | None = None, metrics: list[dict] | None = None) -> Path:
    workdir.mkdir(parents=True, exist_ok=True)
    grpo = {"beta": 0.001, "clip": {"low": 0.2}}
    config = {"stage": "rl", "num_steps": 100, "seed": 0, "grpo": grpo, "model": {"preset": "mini"}}
    (workdir / "config.json").write_text(json.dumps(config))
    write_lines(workdir / "metrics.jsonl", [metric(step) for step in range(100)] if metrics is None else metrics)
    if evals is None:
        evals = [evaluation(0, 0.081), evaluation(40, 0.4), evaluation(80, 0.75), evaluation(100, 0.83)]
    write_lines(workdir / "evals.jsonl", evals)
    base, trained = [], []
    for question in range(1, 7):
        for source in ("chain_sum", "countdown"):
            base.append(sample(question, source, "<think>it is <script>alert(1)</script> 验算", finish="length"))
            base.append(sample(question, source, "a later sample", sample=1))
            thought, final = f"{question} + {question}. Wait, check: it is {2 * question}.", str(2 * question)
            split = {"thought": thought, "final": final, "well_formed": True}
            trained.append(sample(question, source, "", correct=1, num_tokens=64, **split))
    write_lines(workdir / "evals" / "step_000000.jsonl", base)
    write_lines(workdir / "evals" / "step_000100.jsonl", trained)
    return workdir


class Elements(html.parser.HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
