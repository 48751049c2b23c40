"""Files of graded rollouts: a JSON line a sample for readers, and its tokens for replays."""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from r1jax.config import ConfigError
from r1jax.core import shared_files
from r1jax.core.shares import Shares
from r1jax.data.types import Prompt, Rollout
from r1jax.io import files, jsonl
from r1jax.text.tokenizer import Tokenizer


def write_samples(path: pathlib.Path, rollouts: Sequence[Rollout], shares: Shares) -> None:
    """One JSON line a sample, with its grades: what the report shows, and what a look at the rewards needs.

    `versions` are the steps whose policies drew its tokens, each with the number of tokens.

    Args:
        rollouts: of this process's share; the file has all of them.
    """

    def row(r: Rollout) -> dict[str, Any]:
        response = r.response
        return {
            "id": r.prompt.id,
            "question": r.prompt.question,
            "answer": r.prompt.answer,
            "source": r.prompt.source,
            "sample": r.sample,
            "text": r.whole,
            "thought": response.thought,
            "final": response.final,
            "correct": r.parts.get("accuracy"),
            "verdict": r.verdict,
            "reward": r.reward,
            "parts": dict(r.parts),
            "finish": r.finish,
            "num_tokens": len(r.ids),
            "well_formed": bool(r.parts["format"]),
            **(
                {}
                if r.versions is None
                else {"versions": np.stack(np.unique(r.versions, return_counts=True), 1).tolist()}
            ),
        }

    def join(parts: Sequence[pathlib.Path]) -> None:
        with files.replacing(path) as file:
            for part in parts:
                with open(part, "rb") as of_share:
                    shutil.copyfileobj(of_share, file)

    _write_together(path, lambda part: jsonl.write(part, map(row, rollouts)), join, shares)


def _write_together(
    path: pathlib.Path,
    write: Callable[[pathlib.Path], None],
    join: Callable[[Sequence[pathlib.Path]], None],
    shares: Shares,
) -> None:
    """Writes a file of all shares' rows: each leader its part beside it, which process 0 then joins and deletes."""
    if shares.count == 1:
        if shares.leads:
            write(path)
        return
    parts = [path.with_name(f".{path.name}.{index}") for index in range(shares.count)]
    if shares.leads:
        write(parts[shares.index])
    shared_files.to_first(parts[1:])
    if jax.process_index() == 0:
        join(parts)
        for part in parts:
            part.unlink()


def write_tokens(workdir: pathlib.Path, step: int, rollouts: Sequence[Rollout], shares: Shares) -> None:
    """The sampled tokens of a step's rows in rollouts/, in their order, with their log-probs, in rollout_tokens/.

    A NumPy archive of `lengths [N]`, `ids [sum]` and `logprobs [sum]`: eight bytes a token, compressed; with
    `versions [sum]` where steps carry completions over.
    """
    arrays = {
        "lengths": np.array([len(rollout.ids) for rollout in rollouts], np.int32),
        "ids": np.concatenate([rollout.ids for rollout in rollouts]),
        "logprobs": np.concatenate([rollout.logprobs for rollout in rollouts]),
    }
    if rollouts[0].versions is not None:
        arrays["versions"] = np.concatenate([rollout.versions for rollout in rollouts])

    def write(part: pathlib.Path, arrays: Mapping[str, np.ndarray] = arrays) -> None:
        with files.replacing(part) as file:
            np.savez_compressed(file, **arrays)

    path = _tokens_path(workdir, step)

    def join(parts: Sequence[pathlib.Path]) -> None:
        shared = [np.load(part) for part in parts]
        write(path, {name: np.concatenate([each[name] for each in shared]) for name in arrays})

    _write_together(path, write, join, shares)


def _tokens_path(workdir: pathlib.Path, step: int) -> pathlib.Path:
    return workdir / "rollout_tokens" / f"step_{step:06d}.npz"


def read_rollouts(
    workdir: pathlib.Path, step: int, prompts: Mapping[str, Prompt], tokenizer: Tokenizer
) -> list[Rollout]:
    """The rollouts of a step, as they were trained on.

    Args:
        prompts: by id; the questions of that step among them.
        tokenizer: the policy's.

    Raises:
        ConfigError: the step's files are not there, or are of other questions.
    """
    path, tokens = workdir / "rollouts" / f"step_{step:06d}.jsonl", _tokens_path(workdir, step)
    if not (path.exists() and tokens.exists()):
        raise ConfigError(f"{path} and {tokens} are not both there: rollouts of step {step} were not kept")
    rows, _ = jsonl.read_log(path)
    with np.load(tokens) as archive:
        cuts = np.cumsum(archive["lengths"])[:-1]
        ids, logprobs = np.split(archive["ids"], cuts), np.split(archive["logprobs"], cuts)
        versions = np.split(archive["versions"], cuts) if "versions" in archive else [None] * len(ids)
    rollouts = []
    for row, row_ids, row_logprobs, row_versions in zip(rows, ids, logprobs, versions, strict=True):
        if row["id"] not in prompts or prompts[row["id"]].question != row["question"]:
            raise ConfigError(f"{path} has the question {row['id']!r}, which the run's data do not give at that step")
        prompt = prompts[row["id"]]
        text = tokenizer.decode(row_ids[:-1].tolist() if row["finish"] == "stop" else row_ids.tolist())
        rollout = Rollout(prompt, row["sample"], row_ids, row_logprobs, text, row["finish"], versions=row_versions)
        rollouts.append(dataclasses.replace(rollout, reward=row["reward"], parts=row["parts"], verdict=row["verdict"]))
    return rollouts
