"""Configs of runs that take seconds, written to files as a user would write them, and what such runs leave behind."""

import copy
import json
import pathlib
from typing import Any

BASE = {
    "stage": "supervised",
    "model": {
        "vocab_size": 0,
        "embed_dim": 32,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 8,
        "mlp_dim": 64,
    },
    "vocab_size": 512,
    "tokenizer_documents": 300,
    "num_steps": 2,
    "batch_size": 8,
    "seq_len": 64,
    "documents_per_step": 8,
    "corpus": {"held_out_share": 0.3},
    "optimizer": {"learning_rate": 1e-3},
}

# From BASE; its fields but for the base itself.
SFT = {
    "stage": "supervised",
    "base": "",
    "data": {"path": "", "template": "plain", "held_out_share": 0.3, "skip_bad_lines": False},
    "num_steps": 30,
    "batch_size": 8,
    "seq_len": 160,
    "documents_per_step": 16,
    "log_every": 10,
    "optimizer": {"learning_rate": 1e-2, "warmup_steps": 3},
}

# An untrained model answers nothing right: the coin flip is what gives groups a signal.
ZERO = {
    "stage": "rl",
    "base": "",
    "num_steps": 3,
    "data": {"tasks": ({"name": "chain_sum"},), "path": "", "template": "plain", "skip_bad_lines": False},
    "sampling": {"max_new_tokens": 12, "slots": 8, "window": 4, "prefill_rows": 8, "bucket": 64},
    "grpo": {"prompts_per_step": 4, "group_size": 4, "minibatches": 2, "beta": 0.01, "reference_every": 3},
    "rewards": {"random": 1.0, "graders": {"workers": 1, "timeout_s": 60.0}},
    "optimizer": {"learning_rate": 1e-3},
    "evaluation": {"questions": 4, "samples": 2, "samples_during": 1, "every": 2},
    "checkpoint": {"every": 2, "keep": 2},
}


def merged(tree: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of a config with fields set: `merged(ZERO, grpo__beta=0.1)`."""
    tree = copy.deepcopy(tree)
    for key, value in changes.items():
        *sections, name = key.split("__")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return tree


def write_config(path: pathlib.Path, tree: dict[str, Any]) -> str:
    """Writes a config file; returns what `--config` is to be."""
    path.write_text(f"from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict({tree!r})\n")
    return str(path)


def rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    """A row of metrics without what depends on the clock."""
    return {key: value for key, value in row.items() if not key.startswith("time/") and key != "tokens_per_s"}
