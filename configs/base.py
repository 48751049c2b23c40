"""The base model that R1-Zero starts from: plain next-token prediction on the mini world's documents.

    python -m r1jax.train --config=configs/base.py:mini --workdir=runs/base

mini: 0.97M parameters, 1,500 steps of 64 x 256 tokens, 13,000 tokens a second on 2 CPU cores: half an hour (40 minutes
when it was made, on cores shared with other work). The result ships in experiments/models, so `configs/zero.py:mini` trains it only after a
change to this page, or to the documents, has changed its key.

Of the documents 7% are the whole R1-Zero prompt with some reply, of which 6% obey its tags; 4% are tags without that
prompt, half of them whole. No author (terse, worked, checked, sloppy, Chinese, mixed) has more than a quarter.
"""

import dataclasses

from ml_collections import ConfigDict

from r1jax.models.config import PRESETS


def get_config(arg: str = "mini") -> ConfigDict:
    if arg != "mini":
        raise ValueError(f"no size named {arg!r}; there is: mini")
    return ConfigDict(
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
