"""The settings that a folder was begun with, and the check that a resumed run changes none that it may not.

`CHANGEABLE` settings decide where, in what pieces and how fast the same thing is computed, and what is printed and kept
on the way; they change results by rounding at most, and may change when a run is resumed, say after it ran out of
memory. With `sampling.carry_over` slots and windows decide more, which policy draws a token; a changed one is as good.
With another value of any other setting it would be another run.
"""

import dataclasses
import datetime
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from r1jax import config
from r1jax.config import ConfigError
from r1jax.io import jsonl
from r1jax.io.console import say
from r1jax.io.files import read_json, write_json

# By their keys in the configs of all stages; a section stands for all of its fields.
CHANGEABLE = (
    "mesh",
    "packing",
    "microbatches",
    "logprob_chunk",
    "batch_bucket",
    "compute.remat",
    "compute.scan_unroll",
    "model.remat",
    "model.scan_unroll",
    "sampling.slots",
    "sampling.window",
    "sampling.prefill_rows",
    "sampling.bucket",
    "sampling.prompt_bucket",
    "sampling.speculative",
    "rewards.graders.workers",
    "rewards.judge.in_flight",
    "rewards.judge.timeout_s",
    "rewards.judge.retries",
    "rewards.judge.api_key_env",
    "checkpoint",
    "watchdog",
    "faults.reward_collapse",
    "faults.reward_share",
    "faults.entropy_collapse",
    "faults.entropy_share",
    "faults.sampler_drift",
    "faults.largest_gap",
    "faults.no_signal",
    "evaluation.every",
    "evaluation.benchmarks",
    "keep_rollouts",
    "log_every",
    "track",
    "host_memory",
    "profile_at",
    "optimizer.max_skipped",
    "model.path",  # of a record of samples, where the model's hash stands beside it
)


def is_changeable(key: str) -> bool:
    """Whether a dotted key is among `CHANGEABLE`, or below one of them."""
    return any(key == each or key.startswith(f"{each}.") for each in CHANGEABLE)


def claim(
    path: pathlib.Path,
    settings: Any,
    contents: str,
    *,
    begun: bool,
    keys: Mapping[str, str] | None = None,
    files: Mapping[str, Sequence[str]] | None = None,
    grows: Mapping[str, str] | None = None,
    writes: bool = True,
) -> None:
    """Records these settings as the folder's, or checks that they are; changed ones are printed and recorded.

    The settings are compared without defaults: one that the record does not have, because there was no such option when
    it was written, stands at its default. What changed is a line of `<record>_changes.jsonl` beside the record.

    Args:
        path: the folder's record, JSON.
        settings: a config, or a mapping with configs in it. What a mapping alone names has no default but nothing:
            None, False, 0 or empty.
        contents: what the folder holds where its settings are others, for the error.
        begun: whether there is anything that was made with the record's settings; else it is free.
        keys: hashes of files and models that the settings name by their paths. A record without one takes it over.
        files: of keys that hold the hashes of several files, a word each, these files.
        grows: numbers that may grow, by their keys: the reason why one may not after all, "" where it may.
        writes: whether this process writes the record; only one of several does.

    Raises:
        ConfigError: settings that may not change are others; names all of these.
    """
    keys, grows = dict(keys or {}), dict(grows or {})
    current = {**config.to_dict(settings), **keys}
    if not (begun and path.exists()):
        if writes:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, current)
        return
    recorded = {**keys, **_filled(settings, read_json(path))}
    changed = config.changed_values(recorded, current)
    refused = []
    for key, (old, new) in changed.items():
        why = _may_not_grow(key, recorded, current, grows) if key in grows else ""
        if key in (files or {}):
            why = _changed_files(files[key], *(side.get(key, "").split() for side in (recorded, current)))
        if why or not (key in grows or is_changeable(key)):
            refused.append(f"{key}: {old} -> {new}" + (f" ({why})" if why else ""))
    if refused:
        lines = "\n  ".join(refused)
        raise ConfigError(f"{path.parent} holds {contents}; choose another --workdir, or set back\n  {lines}")
    if changed and writes:
        others = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in changed.items())
        say(f"{path.parent} goes on with {others}")
        row = {"time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "changed": changed}
        jsonl.append(path.with_name(f"{path.stem}_changes.jsonl"), row)
    if writes:
        write_json(path, current)


def _filled(settings: Any, recorded: Any) -> Any:
    """A record of such settings with what it does not have at its default."""
    if dataclasses.is_dataclass(settings):
        return config.with_defaults(type(settings), recorded)
    if isinstance(settings, list | tuple) and settings and isinstance(recorded, list):
        return [_filled(settings[0], each) for each in recorded]
    if not (isinstance(settings, Mapping) and isinstance(recorded, dict)):
        return recorded
    nothing = {key: config.to_dict(value) for key, value in settings.items() if not value}
    return nothing | {key: _filled(settings.get(key), value) for key, value in recorded.items()}


def _may_not_grow(key: str, recorded: Mapping[str, Any], current: Mapping[str, Any], grows: Mapping[str, str]) -> str:
    """Why a number may not be the one it now is; "" where it may."""
    return grows[key] if current[key] > recorded[key] else "it may only grow: those steps may be done"


def _changed_files(files: Sequence[str], recorded: Sequence[str], current: Sequence[str]) -> str:
    """Which files have another content now; "" where there were others."""
    if len(recorded) != len(current):
        return ""
    changed = [file for file, old, new in zip(files, recorded, current, strict=True) if old != new]
    return f"another content of {', '.join(changed)}"
