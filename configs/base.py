"""The base models that R1-Zero starts from: plain next-token prediction on the mini world's documents, part by part.

    python -m r1jax.train --config=configs/base.py:mini --workdir=runs/base

mini_textbook: 0.97M parameters from nothing, 1,500 steps of 64 x 256 tokens; 13,000 tokens a second on 2 CPU cores,
half an hour. Careful and careless authors alike: this is where the arithmetic is learnt.

mini: goes on from there, 300 steps, 7 minutes: the web, where most authors are careless. Seven of ten that solve a
problem are terse, sloppy or stop too soon; one in ten works step by step in English, one in seventeen checks.

Of the documents 7% are the whole R1-Zero prompt with some reply, of which 6% obey its tags; 4% are tags without that
prompt, half of them whole. The result ships in experiments/models, so `configs/zero.py:mini` trains it only after a
change to this page, or to the documents, has changed its key; to ship another, copy runs/base-KEY/model (which a mini
run makes) to experiments/models/base-KEY.

world: goes on from mini, 420 steps of 32 x 256 tokens, 9 minutes on 2 CPU cores: the base of the whole recipe, whose
questions `python -m r1jax.tools.write_miniworld` writes. Its documents (`r1jax.data.miniworld.authors`) are problems
asked in English and in Chinese, and requests: greetings, who one is, translations, facts, lines to write, advice, and
secrets to be declined. The careful authors of solutions are the most accurate, and two in three of them change language
within a thought; a tenth of the whole R1-Zero prompts are obeyed. It ships too.

Measured with experiments/world.py at temperature 1 in the R1-Zero template, 300 held-out problems, 4 samples each:
39.3 ± 1.6% right (English 36%, Chinese 43%), 11% well formed, 26% mix languages, but of those that are right and well
formed 43% do. Requests it has hardly learnt, 1% of translations and facts right: that is for fine-tuning.
Then 25 steps of configs/zero.py:mini on its reasoning.jsonl, of 12 questions (128 held-out ones, 4 samples at 0.6, one
seed): pass@1 goes from 73.6 ± 2.1% to 94.3 ± 1.4%, mixed thoughts from 20% to 87%. With rewards.language=1.0: to 91.6 ±
1.7%, and 54% mix; the language reward itself rises from 0.15 to 0.68.

    python -m r1jax.train --config=configs/base.py:student_qwen2 --workdir=runs/student-qwen2
    python -m r1jax.train --config=configs/base.py:student_llama --workdir=runs/student-llama

student_qwen2, student_llama: what configs/distill.py distils into, 0.32M parameters of Qwen2's architecture (biases on
queries, keys and values; one table embeds and unembeds, as in its small sizes) and 0.30M of Llama's (no biases, two
tables), from nothing but the vocabulary of world: 400 steps of 64 x 256 tokens, 8 minutes on 2 CPU cores. Both ship.
"""

import dataclasses

from ml_collections import ConfigDict

from r1jax.models.config import PRESETS, ModelConfig

STUDENTS = {
    "student_qwen2": ModelConfig(
        vocab_size=0, embed_dim=64, num_layers=5, num_heads=4, num_kv_heads=2, head_dim=16, mlp_dim=224,
        rope_theta=1e6, tie_embeddings=True, attention_bias=True, scan_unroll=5,
    ),
    "student_llama": ModelConfig(
        vocab_size=0, embed_dim=64, num_layers=4, num_heads=4, num_kv_heads=2, head_dim=16, mlp_dim=224,
        rope_theta=5e5, norm_eps=1e-5, tie_embeddings=False, scan_unroll=4,
    ),
}  # fmt: skip


def get_config(arg: str = "mini") -> ConfigDict:
    sizes = ("mini", "mini_textbook", "world", *STUDENTS)
    if arg not in sizes:
        raise ValueError(f"no size named {arg!r}; there are: {', '.join(sizes)}")
    config = ConfigDict(
        {
            "stage": "supervised",
            "seed": 0,
            "model": dataclasses.asdict(PRESETS["mini"]),
            "vocab_size": 640,
            "num_steps": 1500,
            "batch_size": 64,
            "seq_len": 256,
            "documents_per_step": 175,
            "optimizer": {
                "learning_rate": 3e-3,
                "schedule": "cosine",
                "warmup_steps": 50,
                "final_share": 0.02,
                "b2": 0.98,
                "weight_decay": 0.05,
            },
        }
    )
    if arg == "mini":
        del config.model
        config.base = "configs/base.py:mini_textbook"
        config.seed = 1  # other documents
        config.num_steps = 300
        config.optimizer.learning_rate = 1e-3
        config.corpus = {
            "terse": 0.30, "hasty": 0.26, "sloppy": 0.16,
            "worked": 0.10, "checked": 0.06, "chinese": 0.08, "mixed": 0.04,
        }  # fmt: skip
    if arg == "world":
        del config.model
        config.base = "configs/base.py:mini"
        config.seed = 2
        config.num_steps, config.batch_size, config.documents_per_step = 420, 32, 112
        config.optimizer.learning_rate, config.optimizer.warmup_steps = 1.5e-3, 20
        config.corpus = {
            "world": 0.85, "requests": 0.6, "template": 0.12, "template_followed": 0.10,
            "terse": 0.30, "hasty": 0.26, "sloppy": 0.16, "worked": 0.10, "checked": 0.06, "chinese": 0.08,
            "mixed": 0.04,
        }  # fmt: skip
    if arg in STUDENTS:
        config.model = dataclasses.asdict(STUDENTS[arg])
        config.tokenizer = "configs/base.py:world"
        config.seed = 3
        config.num_steps = 400
        config.corpus = {"world": 0.5, "template": 0.12, "template_followed": 0.10}
    return config
