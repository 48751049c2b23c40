"""The base model that R1-Zero starts from: plain next-token prediction on the mini world's documents, in two parts.

    python -m r1jax.train --config=configs/base.py:mini --workdir=runs/base

mini_textbook: 0.97M parameters from nothing, 1,500 steps of 64 x 256 tokens; 13,000 tokens a second on 2 CPU cores,
half an hour. Careful and careless authors alike: this is where the arithmetic is learnt.

mini: goes on from there, 300 steps, 7 minutes: the web, where most authors are careless. Seven of ten that solve a
problem are terse, sloppy or stop too soon; one in ten works step by step in English, one in seventeen checks.

Of the documents 7% are the whole R1-Zero prompt with some reply, of which 6% obey its tags; 4% are tags without that
prompt, half of them whole. The result ships in experiments/models, so `configs/zero.py:mini` trains it only after a
change to this page, or to the documents, has changed its key; to ship another, copy runs/base-KEY/model (which a mini
run makes) to experiments/models/base-KEY.
"""

import dataclasses

from ml_collections import ConfigDict

from r1jax.models.config import PRESETS


def get_config(arg: str = "mini") -> ConfigDict:
    if arg not in ("mini", "mini_textbook"):
        raise ValueError(f"no size named {arg!r}; there are: mini, mini_textbook")
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
    return config
