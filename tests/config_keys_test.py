"""Config files of the stages: each parses, and the program reads every key."""

import ast
import dataclasses
import pathlib
import typing

import pytest

from r1jax import config_files
from r1jax.core.config import MESH_AXES, RuleChanges
from r1jax.data.miniworld import documents
from r1jax.stages.rl import RLConfig
from r1jax.stages.supervised import SupervisedConfig
from r1jax.stages.teacher_scoring import TeachConfig
from r1jax.tools import train

ROOT = pathlib.Path(__file__).resolve().parent.parent


def config_classes(cls: type, found: dict[str, type]) -> dict[str, type]:
    """Every dataclass that a config's fields are made of, itself included."""
    found[cls.__name__] = cls
    hints = list(typing.get_type_hints(cls).values())
    while hints:
        hint = hints.pop()
        hints += typing.get_args(hint)
        if dataclasses.is_dataclass(hint) and hint.__name__ not in found:
            config_classes(hint, found)
    return found


def attributes_read(node: ast.AST, outside: set[str]) -> set[str]:
    """Names `name` of every `x.name` that is read below a node, not counting what these classes do themselves."""
    if isinstance(node, ast.ClassDef) and node.name in outside:
        return set()
    mine = {node.attr} if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) else set()
    return mine.union(*(attributes_read(child, outside) for child in ast.iter_child_nodes(node)))


def test_trap34_every_key_of_a_config_is_read_somewhere():
    classes = config_classes(TeachConfig, config_classes(SupervisedConfig, config_classes(RLConfig, {})))
    assert {"SupervisedConfig", "RLConfig", "ModelConfig", "TaskConfig", "Truncation", "MeshConfig"} <= classes.keys()
    files = (ROOT / "r1jax").rglob("*.py")
    read = set().union(*(attributes_read(ast.parse(path.read_text()), set(classes)) for path in files))
    by_other_means = {
        # It picks the class, before there is one; a teacher's folder comes by way of `Stage.starts_from`.
        "RLConfig": {"stage", "teacher"},
        "SupervisedConfig": {"stage"},
        "TeachConfig": {"stage"},
        "InstructionConfig": {"paths"},  # through `files`
        "MeshConfig": set(MESH_AXES),  # `sizes` and `changed` go through the names
        "RuleChanges": {field.name for field in dataclasses.fields(RuleChanges)},
        "CorpusConfig": {*documents.FORMS, *documents.AUTHORS},  # by name, out of these very tuples
        # `Faults.note` goes by the fault's name
        "FaultConfig": {"reward_collapse", "entropy_collapse", "sampler_drift", "no_signal"},
        "RewardConfig": {"accuracy"},  # `combine.weights` goes through the names of the parts
    }
    unread = [
        f"{name}.{field.name}"
        for name, cls in classes.items()
        for field in dataclasses.fields(cls)
        if field.name not in read | by_other_means.get(name, set())
    ]
    assert not unread


@pytest.mark.parametrize("name", config_files.shipped_names())
def test_shipped_configs_parse(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    size = {"distill": "mini_qwen2", "preference": "mini_helpfulness"}.get(name, "mini")
    cfg = train.read_config(f"configs/{name}.py:{size}", [])
    if isinstance(cfg, RLConfig) and not cfg.data.path:
        base = train.read_config(cfg.base, [])
        assert base.corpus.held_out_share == cfg.data.held_out_share  # the base never saw a held-out question
