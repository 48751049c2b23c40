"""Plans of stages: bytes are those of a real run's arrays, the verdict turns at the limit, errors say what is right."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest

from r1jax.config import ConfigError
from r1jax.core import params as core
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES, MeshConfig, make_mesh, place
from r1jax.data.tasks import DataConfig, TaskConfig
from r1jax.inference.config import RolloutSamplingConfig
from r1jax.inference.programs import Programs
from r1jax.losses.config import GRPOConfig
from r1jax.models.config import PRESETS
from r1jax.models.transformer import param_specs
from r1jax.performance.hlo import Chip, cost
from r1jax.planning import command, compiled, search, stage, table, topology, verdict
from r1jax.planning.program import Lengths, forward_flops
from r1jax.planning.sampling_programs import CACHE, COPY
from r1jax.stages.config import RLConfig
from r1jax.training import state
from r1jax.training.config import HostMemoryConfig
from r1jax.training.plan import nbytes

CHIP = Chip(1e12, 1e11, 1e10, memory=2**30)
LENGTHS = Lengths(prompt=16, new=16, mean=16)


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))


@pytest.fixture(scope="module")
def there(mesh):
    return topology.Topology("cpu:8", "cpu", tuple(mesh.devices.flatten()), CHIP, 8, 2)


@pytest.fixture(scope="module")
def cfg():
    return RLConfig(
        "rl",
        "tiny",
        4,
        DataConfig(tasks=(TaskConfig("gcd"),)),
        RolloutSamplingConfig(16, slots=16, window=4, prefill_rows=4, bucket=32),
        GRPOConfig(prompts_per_step=4, group_size=4, minibatches=2),
        mesh=MeshConfig(data=1, fsdp=4, tensor=2),
        microbatches=2,
        batch_bucket=32,
    )


@pytest.fixture(scope="module")
def figures(cfg, tiny, mesh):
    programs = stage.programs_of(cfg, tiny, mesh, LENGTHS)
    return {each.name: compiled.compile_program(each, mesh, CHIP) for each in programs}


def on_one(tree) -> int:
    """Bytes that a tree of real arrays has on the first device."""
    device = jax.devices()[0]
    return sum(s.data.nbytes for x in jax.tree.leaves(tree) for s in x.addressable_shards if s.device == device)


def test_bytes_are_those_of_a_runs_arrays(cfg, tiny, mesh, figures):
    specs = param_specs(tiny)
    with jax.set_mesh(mesh):
        weights = core.init(specs, TRAIN_RULES, mesh, 0)
        train_state = state.create(weights, specs, state.make_optimizer(cfg.optimizer, specs, 4), mesh)
        programs = Programs(tiny, cfg.sampling, 1, mesh)
        copy, slots = programs.to_decode_layout(weights), programs.idle(32)
        tokens = place(jnp.zeros((4, 32), jnp.int32), lambda _: DECODE_RULES.sharding(mesh, ("batch", None)))
        prompts = programs.prefill(copy, tokens)
    of_update, of_window = figures["update"], figures["window of decode steps"]
    assert of_update.arguments["weights"] == of_update.beside["reference"] == on_one(weights)
    assert of_update.arguments["optimiser"] == on_one(train_state.opt_state)
    assert of_window.arguments[COPY] == on_one(copy)
    assert figures["copy of the weights for decoding"].output == pytest.approx(on_one(copy), abs=500)  # and pointers
    assert of_window.arguments[CACHE] == on_one(slots)
    assert figures["prefill"].output == pytest.approx(on_one(prompts), abs=500)
    # What is in memory beside an argument is not counted twice, and the old state's memory is the new one's.
    assert "weights" not in of_update.beside and of_update.output < on_one(weights) / 10
    assert {"weights", "optimiser", "reference"} <= set(of_window.beside)


def test_what_is_put_aside_is_on_the_hosts_alone(cfg, tiny, mesh, there):
    aside = dataclasses.replace(cfg, host_memory=HostMemoryConfig(policy=True, reference=True))
    programs = {each.name: each for each in stage.programs_of(aside, tiny, mesh, LENGTHS)}
    assert not {"weights", "optimiser", "reference"} & set(programs["window of decode steps"].beside)
    assert "weights" in programs["copy of the weights for decoding"].arguments  # which come back for it
    assert set(programs["log-probs"].beside) == {"optimiser"} and "reference" not in programs["update"].beside
    figures = [compiled.reckon_program(each, CHIP) for each in programs.values()]
    hosts = verdict.judge(figures, there, aside).hosts_bytes
    specs = param_specs(tiny)
    assert hosts["reference"] == 4 * nbytes(core.abstract(specs, TRAIN_RULES, mesh))  # of four devices
    assert set(hosts) == {"weights", "optimiser", "reference"}


def test_a_steps_calls_are_those_of_the_loop(figures):
    """16 rollouts of 16 tokens in 16 slots, 4 a window; 4 prompts at once; two minibatches of two parts each."""
    calls = {name: each.program.calls for name, each in figures.items()}
    assert calls == {
        "copy of the weights for decoding": 1,
        "prefill": 1,
        "fork of prompts into slots": 1,
        "window of decode steps": 4,
        "log-probs": 4,
        "update": 2,
    }


def test_work_is_what_the_shapes_say(tiny, figures):
    """An update of 8 rows of 32 tokens is three forward passes of a device's share; the logits are made once more."""
    expected = 3 * forward_flops(tiny, 8 / 4, 32) / 2
    assert expected < figures["update"].cost.flops < 1.6 * expected
    assert figures["update"].moved  # gradients


def test_a_product_on_a_cpu_counts():
    x, w = jax.ShapeDtypeStruct((3, 64, 128), jnp.float32), jax.ShapeDtypeStruct((128, 256), jnp.float32)
    text = jax.jit(jnp.matmul).lower(x, w).compile().as_text()
    assert cost(text, CHIP).flops == 2 * 3 * 64 * 128 * 256


def test_the_verdict_turns_at_the_limit(cfg, there, figures):
    every = list(figures.values())
    most = max(each.total for each in every)

    def judged(memory: int) -> verdict.Verdict:
        chip = dataclasses.replace(CHIP, memory=memory)
        return verdict.judge(every, dataclasses.replace(there, chip=chip), cfg)

    least = round(most / (1 - verdict.RESERVED)) + 1
    assert judged(least).fits and not judged(least - 2).fits
    lines = "\n".join(table.verdict_lines(judged(most // 2), there, True))
    assert "DOES NOT FIT: update" in lines and "config.microbatches" in lines
    assert "FITS: the largest, update" in "\n".join(table.verdict_lines(judged(2 * most), there, True))


def test_a_program_that_the_compiler_refuses_does_not_fit(cfg, there, figures):
    words = (
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (600.00G) "
        "exceeds available HBM (15.75G).\nmore"
    )
    reason, size = compiled.refusal(words)
    assert size == 600 * 2**30 and reason.startswith("Ran out of memory") and "\n" not in reason
    assert compiled.refusal("RESOURCE_EXHAUSTED: in memory space hbm. Used 1.5T of 95.74G hbm.")[1] == 1.5 * 2**40
    refused = dataclasses.replace(figures["update"], cost=None, temporaries=0, refused=reason, refused_bytes=size)
    judged = verdict.judge([*figures.values(), refused], there, cfg)
    assert not judged.fits and judged.largest is refused and judged.remedies()[0].startswith("temporaries, 644")


def test_a_search_ranks_what_fits_first_by_time(cfg, tiny, there):
    """Tensor 4 has no key heads to cut: such meshes are left out, and those on which rows or slots do not divide."""
    ranked = search.candidates(cfg, tiny, there, LENGTHS)
    meshes = [each.cfg.mesh for each in ranked]
    assert MeshConfig(data=1, fsdp=4, tensor=2) in meshes and all(mesh.tensor <= 2 for mesh in meshes)
    assert MeshConfig(data=1, fsdp=2, tensor=2, context=2) in meshes
    times = [each.verdict.step_s for each in ranked]
    assert times == sorted(times, key=lambda t: round(t, 3)) and all(each.verdict.fits for each in ranked)
    small = dataclasses.replace(there, chip=dataclasses.replace(CHIP, memory=1))
    sizes = [each.verdict.largest.total for each in search.candidates(cfg, tiny, small, LENGTHS)]
    assert sizes == sorted(sizes)
    uneven = dataclasses.replace(cfg, sampling=dataclasses.replace(cfg.sampling, slots=7))
    with pytest.raises(ConfigError, match="no mesh of cpu:8 can run this config: "):
        search.candidates(uneven, tiny, there, LENGTHS)


def test_each_host_has_its_share(cfg, there, figures):
    lines = list(table.host_lines(cfg, list(figures.values()), there, LENGTHS, 2))
    assert lines[0] == "each of 2 hosts has 4 devices, and of them:"
    assert "- 8 slots, 2 of 4 questions, 8 rollouts" in lines


@pytest.mark.parametrize(
    "options, message",
    [
        (["--config=zero:mini"], "--topology is missing"),
        (["--config=zero:mini", "--topology=v9:2x2"], "--topology=v9:2x2 is none; name one like v5e:2x4, v5p:2x2x2"),
        (["--config=zero:mini", "--topology=cpu:2x2"], "should be cpu:N"),
        (["--config=zero:mini", "--topology=cpu:4096"], "JAX has started with 8 CPU devices; plan for cpu:8"),
        (["--config=zero:minx", "--topology=cpu:8"], "there are: mini"),
        (["--config=evaluate:mini", "--topology=cpu:8"], "is of the stage evaluate; plans are made for rl, supervised"),
        (["--config=zero:hf", "--topology=cpu:8"], "config.base is empty"),
        (["--config=zero:hf", "--model=qwen2_5_8b", "--topology=cpu:8"], "no model 'qwen2_5_8b'; or .* qwen2_5_7b"),
        (["--config=zero:mini", "--topology=cpu:8", "--hosts=3"], "--hosts=3 does not divide 8 devices"),
        (["--config=zero:mini", "--topology=cpu:8", "--mean-tokens=999"], "--mean-tokens=999 is more than"),
    ],
)
def test_errors_say_what_would_be_right(options, message, capsys, monkeypatch):
    monkeypatch.setattr(topology, "measure_ceilings", lambda *_: {"flop/s": 1e9, "byte/s": 1e9})
    monkeypatch.setenv("XLA_FLAGS", "")
    assert command.main(options) == 2
    assert re.search(message, capsys.readouterr().err)


def test_without_libtpu_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="libtpu, which is not installed: pip install libtpu"):
        topology.open_topology("v5p:2x2x2")


def test_the_command_prints_a_plan_and_a_recommendation(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(topology, "measure_ceilings", lambda *_: {"flop/s": 8e9, "byte/s": 8e9})
    monkeypatch.setenv("XLA_FLAGS", "")
    file = tmp_path / "plan.json"
    options = ["--config=zero:mini", "--topology=cpu:8", "--reckon", "--search", f"--json={file}", "--hosts=2"]
    assert command.main(options) == 0
    printed = capsys.readouterr().out
    assert "967,808 parameters on cpu:8: 1 chips, 8 devices" in printed and "--config.mesh.data=" in printed
    assert "FITS (reckoned, not compiled)" in printed and "each of 2 hosts has 4 devices" in printed
    assert file.read_text().startswith('{\n "config": "zero:mini"')


def test_presets_are_named_by_sizes_and_every_stage_that_trains_has_programs(mesh, tiny):
    assert stage.model_name("distill:qwen2_5_7b") == "qwen2_5_7b" and stage.model_name("zero:mini") == ""
    cfg = stage.read("distill:qwen2_5_7b", ["mesh.fsdp=4", "mesh.tensor=2"], "qwen2_5_7b")
    model = stage.model_of(cfg, "qwen2_5_7b")
    assert (model.embed_dim, model.remat) == (PRESETS["qwen2_5_7b"].embed_dim, True)
    for spec, names in (
        ("distill:qwen2_5_7b", ["update"]),
        ("preference:mini_helpfulness", ["update"]),
        ("process_reward:mini", ["update"]),
        ("rejection:mini", ["copy of the weights for decoding", "prefill"]),
    ):
        cfg = stage.read(spec, [], "qwen2_5_7b" if "distill" in spec else "tiny")
        programs = stage.programs_of(cfg, tiny, mesh, stage.lengths_of(cfg))
        assert [each.name for each in programs][: len(names)] == names
