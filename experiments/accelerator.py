"""Measurements of experiments/accelerator.sh that no command has: parity, kernels, a profile, a training run.

    python experiments/accelerator.py parity|kernels|profile|train RESULTS [--tiny]

Each appends lines of JSON to RESULTS as soon as it has them.
"""

import collections
import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import traceback

import jax
import jax.numpy as jnp
import numpy as np

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
from r1jax.data.batching import pad_rollouts
from r1jax.data.types import Prompt, Rollout
from r1jax.inference.config import SamplingConfig
from r1jax.inference.engine import Engine
from r1jax.io import jsonl
from r1jax.losses.config import AuxiliaryConfig, GRPOConfig
from r1jax.losses.grpo import grpo_loss
from r1jax.models.config import ModelConfig, Truncation
from r1jax.models.transformer import param_specs
from r1jax.performance.work import EndlessTokenizer
from r1jax.tools import bench


class Results:
    """A file of JSON lines, each of one part, written at once."""

    def __init__(self, path: pathlib.Path, part: str):
        self.path, self.part = path, part

    def add(self, **fields) -> None:
        line = json.dumps({"part": self.part, **fields})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def attempt(self, name: str, run) -> None:
        """Adds what `run` returns, or its error; the next attempt follows either way."""
        try:
            self.add(name=name, **run())
        except Exception as error:
            self.add(name=name, error=f"{type(error).__name__}: {error}"[:1500])
            traceback.print_exc(limit=4)


def distance(value, reference) -> float:
    """||value - reference|| / ||reference|| in float64 on the host, over all arrays of a tree."""
    pairs = list(zip(jax.tree.leaves(value), jax.tree.leaves(reference), strict=True))
    value, reference = (
        np.concatenate([np.asarray(x, np.float64).ravel() for x in side]) for side in zip(*pairs, strict=True)
    )
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


def parity(results: Results, tiny: bool) -> None:
    """Loss, gradient, log-probs and greedy samples on the device against float32 on the CPU of the same machine."""
    shape = ModelConfig(512, 256, 4, 8, 4, 32, 512) if tiny else ModelConfig(2048, 512, 4, 8, 4, 64, 1024)
    tokens = 64 if tiny else 640
    devices = {"cpu": jax.devices("cpu")[0], "device": jax.devices()[0]}
    rng = np.random.default_rng(0)
    rollouts = []
    for i in range(4):
        prompt = Prompt(str(i), "", "", "exact:parity", ids=tuple(rng.integers(2, shape.vocab_size, 7 + i).tolist()))
        n = tokens - 40 * i % tokens
        rollouts.append(
            Rollout(
                prompt, 0, rng.integers(2, shape.vocab_size, n, np.int32), np.full(n, -7.0, np.float32), "", "length"
            )
        )
    batch = pad_rollouts(rollouts, np.array([1.0, -1.0, 0.5, -0.5]), 32)
    batch = dataclasses.replace(batch, weights=batch.weights / batch.weights.sum())

    def compute(device, dtype, precision):
        model = dataclasses.replace(shape, dtype=dtype)
        mesh, cpu = (make_mesh(MeshConfig(1), [each]) for each in (device, devices["cpu"]))
        with jax.set_mesh(cpu):
            params = jax.device_get(core.init(param_specs(model), TRAIN_RULES, cpu, 0))
        with jax.set_mesh(mesh), jax.default_matmul_precision(precision):
            params = jax.device_put(params, core.shardings(param_specs(model), TRAIN_RULES, mesh))

            def loss(params, batch):
                value, metrics = grpo_loss(params, model, batch, GRPOConfig(), Truncation(), 64, AuxiliaryConfig())
                return value, metrics

            (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
                params, jax.device_put(batch, device)
            )
            sampling = SamplingConfig(24, Truncation(0.0), slots=4, prefill_rows=4, bucket=64)
            engine = Engine(model, sampling, EndlessTokenizer(model.vocab_size), mesh)
            drawn = engine.generate(params, [r.prompt for r in rollouts], 1, (0,))
            sampled = dataclasses.replace(sampling, truncation=Truncation(1.0))
            engine = Engine(model, sampled, EndlessTokenizer(model.vocab_size), mesh)
            random = engine.generate(params, [r.prompt for r in rollouts], 1, (0,))
        host = {name: float(x) for name, x in metrics.items()}
        return jax.device_get((value, gradient)), host, *([r.ids for r in draws] for draws in (drawn, random))

    (_, reference), metrics, greedy, random = compute(devices["cpu"], "float32", "highest")
    entropy = metrics["entropy"]
    cases = (("float32", "highest"), ("float32", "default"), ("bfloat16", "default"))
    for dtype, precision in cases:

        def case(dtype=dtype, precision=precision):
            (_, gradient), got, ids, drawn = compute(devices["device"], dtype, precision)
            return {
                "gradient_error": distance(gradient, reference),
                "entropy_error": abs(got["entropy"] / entropy - 1),
                "gap_error": abs(got["sampler_gap/mean"] / metrics["sampler_gap/mean"] - 1),
                "greedy_same": float(np.mean([(a == b).mean() for a, b in zip(ids, greedy, strict=True)])),
                "random_same": float(np.mean([(a == b).mean() for a, b in zip(drawn, random, strict=True)])),
            }

        results.attempt(f"{dtype}/{precision}", case)


def seconds_of(run, *arguments, times: int = 10) -> float:
    """Seconds a call, from some that are dispatched together after two that warm up."""
    jax.block_until_ready(run(*arguments))
    jax.block_until_ready(run(*arguments))
    start = time.perf_counter()
    for _ in range(times):
        out = run(*arguments)
    jax.block_until_ready(out)
    return (time.perf_counter() - start) / times


def kernels(results: Results, tiny: bool) -> None:
    """Attention's implementations: their distance from float32 attention, and FLOP/s at long lengths."""
    from r1jax.kernels import decode_tpu, flash_tpu
    from r1jax.kernels.decode_gpu import decode_attention
    from r1jax.kernels.flash_gpu import Blocks, flash_attention
    from r1jax.models.attention import attend, causal

    on_gpu, on_tpu = (jax.default_backend() == name for name in ("gpu", "tpu"))
    small = Blocks((32, 16, 4, 2), (16, 16, 4, 2), (16, 16, 4, 2))

    def flash(blocks):
        if on_tpu:
            return flash_tpu.flash_attention
        return lambda q, k, v, s, scale: flash_attention(q, k, v, s, scale, blocks if on_gpu else small, not on_gpu)

    def plain(q, k, v, s, scale):
        positions = jnp.broadcast_to(jnp.arange(q.shape[1]), q.shape[:2])
        return attend(q, k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3), causal(positions, s), scale)

    def cudnn(q, k, v, s, scale):
        if s is not None:
            raise ValueError("cuDNN has no segments")
        return jax.nn.dot_product_attention(q, k, v, scale=scale, is_causal=True, implementation="cudnn")

    candidates = {"flash": flash(Blocks()), "cudnn": cudnn, "plain": plain}
    if on_gpu:
        candidates |= {
            "flash 128x128": flash(Blocks((128, 128, 8, 2), (128, 64, 8, 2), (128, 64, 8, 2))),
            "flash 64x64": flash(Blocks((64, 64, 4, 3), (64, 128, 8, 2), (64, 128, 8, 2))),
            "flash 128x64x4": flash(Blocks((128, 64, 4, 3), (32, 128, 8, 2), (128, 32, 8, 2))),
        }
    N, K, H = (4, 2, 16) if tiny else (16, 8, 128)

    def draw(B, T, seed=0):
        shapes = ((B, T, N, H), (B, T, K, H), (B, T, K, H), (B, T, N, H))
        return [jax.random.normal(jax.random.key(seed + i), s).astype(jnp.bfloat16) for i, s in enumerate(shapes)]

    def both(run, segments):
        def loss(q, k, v, weight):
            return jnp.sum(run(q, k, v, segments, H**-0.5).astype(jnp.float32) * weight.astype(jnp.float32))

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))

    T = 96 if tiny else 1000
    ids = jnp.asarray(np.repeat([1, 2, 3, 0], [T // 4, T // 2, T // 8, T - T // 4 - T // 2 - T // 8])[None])
    arrays = draw(1, T)
    exact = {
        packed: both(plain, ids if packed else None)(*(x.astype(jnp.float32) for x in arrays))
        for packed in (False, True)
    }
    for name in ("flash", "cudnn", "plain"):
        run = candidates[name]
        for packed in (False, True):
            if packed and name == "cudnn":
                continue

            def check(run=run, packed=packed):
                value, gradient = both(run, ids if packed else None)(*arrays)
                error = [distance(a, b) for a, b in zip(gradient, exact[packed][1], strict=True)]
                return {"value_error": distance(value, exact[packed][0]), "gradient_error": error}

            results.attempt(f"{name} {'packed' if packed else 'one segment'}", check)

    def clock_all(T: int) -> None:
        arrays = draw(1, T)
        flops = 4 * T * (T + 1) / 2 * N * H
        for name, run in candidates.items():
            if name == "plain" and T > 16_384:
                continue

            def clock(run=run, arrays=arrays, flops=flops):
                forward = seconds_of(jax.jit(lambda q, k, v, w: run(q, k, v, None, H**-0.5)), *arrays, times=5)
                whole = seconds_of(both(run, None), *arrays, times=5)
                backward = whole - forward
                return {
                    "ms": [forward * 1e3, whole * 1e3],
                    "tflop/s": [flops / forward / 1e12, 2.5 * flops / backward / 1e12, 3.5 * flops / whole / 1e12],
                }

            results.attempt(f"{name} T={T}", clock)

    clock_all(64 if tiny else 16_384)
    L, B, S = (2, 3, 64) if tiny else (4, 64, 1024)
    cache = [jax.random.normal(jax.random.key(i), (L, B, K, S, H)).astype(jnp.bfloat16) for i in (7, 8)]
    q = jax.random.normal(jax.random.key(9), (B, N, H)).astype(jnp.bfloat16)
    lengths = jnp.asarray(np.random.default_rng(0).integers(1, S + 1, B), jnp.int32)
    mask = jnp.arange(S)[None, None] < lengths[:, None, None]
    exact_out = attend(*(x.astype(jnp.float32) for x in (q[:, None], cache[0][1], cache[1][1])), mask)[:, 0]
    layer = jnp.int32(1)
    settings = [(64, 1024, 4, 3), (128, 1024, 4, 2), (64, 512, 4, 4), (32, 2048, 2, 4)] if on_gpu else [(16, 16, 4, 2)]
    if on_tpu:
        settings = [(256,), (512,), (1024,)]
    for setting in settings:

        def attend_to_cache(q, k, v, layer, n, setting=setting):
            if on_tpu:
                return decode_tpu.decode_attention(q, k, v, layer, n, H**-0.5, H, *setting)
            return decode_attention(q, k, v, layer, n, H**-0.5, *setting, interpret=not on_gpu)

        def check_decode(run=jax.jit(attend_to_cache)):  # noqa: B008  a new one for each setting
            error = distance(run(q, *cache, layer, lengths), exact_out)
            full = seconds_of(run, q, *cache, layer, jnp.full(B, S, jnp.int32), times=50)
            one = [seconds_of(run, q[:1], *(x[:, :1] for x in cache), layer, jnp.full(1, S, jnp.int32), times=50)]
            return {
                "error": error,
                "us": full * 1e6,
                "gb/s": 2 * B * K * S * H * 2 / full / 1e9,
                "us_one_row": one[0] * 1e6,
            }

        results.attempt(f"decode {setting}", check_decode)

    def plain_decode():
        run = jax.jit(lambda q, k, v, layer, mask: attend(q[:, None], k[layer], v[layer], mask))
        full = seconds_of(run, q, *cache, layer, jnp.ones((B, 1, S), bool), times=20)
        return {"us": full * 1e6, "gb/s": 2 * B * K * S * H * 2 / full / 1e9}

    results.attempt("decode plain", plain_decode)
    if not tiny:
        clock_all(65_536)


def kernel_table(folder: pathlib.Path, most: int = 24) -> list[list]:
    """Name, milliseconds and number of the device's busiest kernels in a profile."""
    times, counts = collections.Counter(), collections.Counter()
    for path in folder.rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            if "/device:" not in plane.name:
                continue
            for line in plane.lines:
                if not line.name.startswith("Stream") and "XLA Ops" not in line.name:
                    continue
                for event in line.events:
                    times[event.name] += event.duration_ns / 1e6
                    counts[event.name] += 1
    rest = sum(times.values())
    return [["all", rest, sum(counts.values())]] + [[n[:90], ms, counts[n]] for n, ms in times.most_common(most)]


def profile(results: Results, tiny: bool) -> None:
    """Which kernels a window of decoding and an update spend their time in."""
    model = "bench" if tiny else "qwen3_0_6b"
    commands = {
        "decode 64": f"--model={model} --dtype=bfloat16 --decode={2 if tiny else 64} --context={64 if tiny else 1024}",
        "update": f"--model={model} --dtype=bfloat16 --remat --prompts=1 --samples=2 --no-sampling --beta=0 "
        f"--new-tokens={64 if tiny else 16384} --prompt-tokens=1 --chunk=512",
    }
    for name, command in commands.items():

        def trace(command=command):
            with tempfile.TemporaryDirectory() as folder:
                arguments = [*command.split(), "--steps=1", "--warmup=1", f"--trace={folder}"]
                if bench.main(arguments):
                    raise RuntimeError("the benchmark failed")
                return {"kernels": kernel_table(pathlib.Path(folder))}

        results.attempt(name, trace)


def train(results: Results, tiny: bool) -> None:
    """Ten steps of configs/zero.py:mini."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "r1jax", "train", f"--config={find_config()}", f"--workdir={folder}/run"]
        steps = 1 if tiny else 10
        extra = [f"--config.num_steps={steps}", "--config.evaluation.questions=32", "--config.evaluation.samples=4"]
        extra += ["--config.checkpoint.every=100"]
        if tiny:
            extra += ["--config.grpo.prompts_per_step=4", "--config.sampling.max_new_tokens=16"]
        start = time.perf_counter()
        done = subprocess.run(command + extra, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            print(done.stdout[-3000:], done.stderr[-5000:])
        rows, _ = jsonl.read_log(pathlib.Path(folder, "run", "metrics.jsonl"))
        names = (
            "time/sample",
            "time/score",
            "time/update",
            "reward/accuracy",
            "reward/format",
            "kl",
            "sampler_gap/mean",
        )
        results.add(
            name="zero:mini",
            status=done.returncode,
            error=done.stderr[-1500:] if done.returncode else "",
            seconds=seconds,
            steps=len(rows),
            first_step={name: rows[0].get(name) for name in names} if rows else None,
            medians={n: statistics.median(row[n] for row in rows[1:]) for n in names if n in rows[-1]}
            if rows[1:]
            else None,
        )


def find_config() -> str:
    """The RL stage's config file, in the checkout."""
    root = pathlib.Path(__file__).resolve().parent.parent
    folder = next(folder for folder in (root / "configs", root / "r1jax/configs") if (folder / "zero.py").exists())
    return f"{folder}/zero.py:mini"


def main() -> int:
    part, path = sys.argv[1], pathlib.Path(sys.argv[2])
    parts = {"parity": parity, "kernels": kernels, "profile": profile, "train": train}
    parts[part](Results(path, part), "--tiny" in sys.argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
