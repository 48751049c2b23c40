"""The benchmark of a GRPO step: its work is what it says, its phases add up, and an update is worth its FLOPs."""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1jax.core import device_ceilings
from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import to_device
from r1jax.inference.config import SamplingConfig
from r1jax.inference.programs import Programs
from r1jax.losses.grpo import grpo_loss
from r1jax.models.transformer import param_specs
from r1jax.performance import grpo_step
from r1jax.performance.work import completion_lengths, decode_bytes, draw_prompts, forward_flops, random_rollouts
from r1jax.stages.rl_batch import make_batch, minibatches
from r1jax.tools import bench
from r1jax.training import state
from r1jax.training.step import make_update

SHAPE = ["--layers=1", "--prompts=2", "--samples=4", "--prompt-tokens=4", "--new-tokens=24", "--bucket=28"]
SMALL = [*SHAPE, "--window=4", "--devices=1", "--warmup=1", "--steps=3"]
SAMPLING = ("reshard", "prefill", "fork", "decode")


@pytest.fixture
def run(capsys, monkeypatch):
    """The whole command, with ceilings that cost nothing: its line of JSON, and its table."""
    monkeypatch.setattr(device_ceilings, "measure_ceilings", lambda *_: {"flop/s": 1e11, "byte/s": 1e10})

    def run(*options: str) -> tuple[dict, list[str]]:
        assert bench.main([*SMALL, *options]) == 0
        line, *table = capsys.readouterr().out.splitlines()
        return json.loads(line), table

    return run


def test_a_step_of_one_length_has_every_phase_rate_and_share(run, tmp_path):
    result, table = run(f"--json={tmp_path / 'results.jsonl'}")
    assert json.loads((tmp_path / "results.jsonl").read_text()) == result
    assert result["rows"] == 8 and result["lengths"] == {"mean": 24, "median": 24, "max": 24}
    assert result["devices"] == 1 and result["arguments"]["new_tokens"] == 24 and len(result["step_s_all"]) == 3
    assert set(result["split_s"]) == set(grpo_step.PHASES) and all(s > 0 for s in result["split_s"].values())
    # Sampling is split in a run of its own, which waits after each call.
    assert 0.25 < sum(result["split_s"].values()) / result["step_s"] < 4
    assert result["new_tokens_per_s"] == pytest.approx(8 * 24 / result["sampling_s"])
    assert result["trained_tokens_per_s"] == pytest.approx(8 * 27 / result["split_s"]["update"])
    rates = ("step flop/s", "log-probs flop/s", "update flop/s", "decode flop/s", "decode byte/s")
    assert set(result["share_of_ceiling"]) == set(rates)
    for name in rates:
        assert result["share_of_ceiling"][name] == pytest.approx(result[name] / (1e10 if "byte" in name else 1e11))
    assert [line.split()[0] for line in table[-9:]] == [*grpo_step.PHASES, "step"]


def test_a_long_tail_is_sampled_at_the_lengths_that_are_printed(run, capsys):
    bench.main([*SHAPE, "--long-tail", "--print-lengths"])
    lengths = json.loads(capsys.readouterr().out)
    result, _ = run(
        "--long-tail", "--new-tokens=24", "--bucket=28", "--steps=1"
    )  # raises where completions have other lengths
    assert result["lengths"] == {"mean": np.mean(lengths), "median": np.median(lengths), "max": 24}
    assert len(lengths) == result["rows"] and max(lengths) == 24 and min(lengths) < 3


def test_without_sampling_only_log_probs_and_updates_are_timed(run):
    result, table = run("--no-sampling", "--steps=1")
    assert [result["split_s"][phase] for phase in SAMPLING] == [0.0] * 4
    assert result["new_tokens_per_s"] is result["decode flop/s"] is result["decode byte/s"] is None
    assert result["update flop/s"] > 0 and result["log-probs flop/s"] > 0 and "new tokens/s" not in "".join(table)


def test_decode_steps_have_a_line_for_each_number_of_sequences(run):
    result, table = run("--decode=1,3", "--context=64", "--steps=2")
    assert [row["sequences"] for row in result["table"]] == [1, 3] and result["what"] == "decode"
    for row, line in zip(result["table"], table[-2:], strict=True):
        assert row["tokens_per_s"] == pytest.approx(row["sequences"] / (row["ms"] / 1e3))
        assert row["share"] == pytest.approx(row["floor_ms"] / row["ms"]) and line.split()[0] == str(row["sequences"])
    with pytest.raises(SystemExit, match="--context=8 is too short for 5 windows of 4"):
        run("--decode=1", "--context=8", "--steps=2")


def test_every_program_of_sampling_belongs_to_a_phase(tiny, mesh1):
    """Else its seconds would be counted as the host's."""
    programs = Programs(tiny, SamplingConfig(8, slots=2, prefill_rows=2), 1, mesh1)
    assert {name for name, value in vars(programs).items() if hasattr(value, "lower")} == {*grpo_step.PROGRAMS, "score"}
    assert set(grpo_step.PROGRAMS.values()) == set(SAMPLING)


@pytest.mark.parametrize("count, longest", [(64, 1024), (8, 64), (256, 16_384), (7, 500)])
def test_the_longest_of_a_long_tail_is_8_times_the_median(count, longest):
    lengths = completion_lengths(count, longest, True)
    assert lengths.shape == (count,) and lengths.max() == longest and lengths.min() >= 1
    middle = np.sort(lengths)[[(count - 1) // 2, count // 2]]
    assert np.sqrt(middle.prod()) == pytest.approx(longest / 8, rel=0.05)
    np.testing.assert_array_equal(lengths, completion_lengths(count, longest, True))
    other = completion_lengths(count, longest, True, seed=1)
    assert (other != lengths).any() and sorted(other) == sorted(lengths)
    assert set(completion_lengths(count, longest, False)) == {longest}


def test_flops_and_bytes_are_those_worked_out_by_hand(tiny):
    """32 wide, 2 layers, 4 query and 2 key heads of 8: 4 x 32 x 8 to q, 2 x 2 x 32 x 8 to k and v, 32 x 32 back."""
    norms = (2 * 2 + 1) * 32
    weights = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64) + 32 * tiny.vocab_size + norms
    pairs = 1 + 2 + 3 + 1 + 2  # of a query and a key, in rows of 3 and 2 tokens
    assert forward_flops(tiny, np.array([3, 2])) == 2 * weights * 5 + 2 * (2 * 2 * 4 * 8) * pairs
    assert decode_bytes(tiny, 3, 10) == 4 * (weights + 3 * 10 * 2 * (2 * 2 * 8))


# An update may take so many times the processor seconds of a matrix product of its FLOPs. It took 3.0 times as many, as
# the tests compile it (without XLA's optimisations): a margin of 2.7.
MOST = 8.0


def test_an_update_costs_no_more_than_a_few_times_the_matrix_product_of_its_flops(mesh1):
    model = bench.SHAPES["bench"]
    args = bench.parser().parse_args(
        ["--prompts=1", "--new-tokens=97", "--bucket=0", "--batch-bucket=32", "--microbatches=1"]
    )
    cfg, specs, lengths = grpo_step.config_of(args), param_specs(model), np.full(8, 97)
    tx = state.make_optimizer(cfg.optimizer, specs, 10)

    def loss(params, batch):
        return grpo_loss(params, model, batch, cfg.grpo, cfg.sampling.truncation, cfg.logprob_chunk, cfg.auxiliary)

    flops = 3 * forward_flops(model, lengths + args.prompt_tokens - 1)
    product = jax.jit(lambda a, b: a @ b)

    def processor_seconds(run):
        start = time.process_time()
        return jax.block_until_ready(run()), time.process_time() - start

    with jax.set_mesh(mesh1):
        a, b = jnp.ones((round(flops / 2 / 1024**2), 1024)), jnp.ones((1024, 1024))
        train_state = state.create(core.init(specs, TRAIN_RULES, mesh1, 0), specs, tx, mesh1)
        update = make_update(loss, tx, specs, mesh1)
        rollouts = random_rollouts(draw_prompts(model.vocab_size, 1, 32, 0), 8, lengths, model.vocab_size)
        batch = make_batch(rollouts, np.array([[1.0, -1.0] * 4]), cfg)
        [batch] = minibatches(batch, cfg.grpo, 97, 0, 0)
        batch = to_device(batch, mesh1)
        seconds = {"update": [], "product": []}
        for _ in range(4):  # in turn, for the machine may be busy with other work
            (train_state, _), spent = processor_seconds(lambda: update(train_state, batch))  # noqa: B023
            seconds["update"].append(spent)
            seconds["product"].append(processor_seconds(lambda: product(a, b))[1])
    ratio = min(seconds["update"][1:]) / min(seconds["product"][1:])
    assert ratio < MOST
