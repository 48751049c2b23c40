"""One GRPO step of Tunix on JAX, timed: float32 on the CPU, its own ("vanilla") sampler.

    FOLDER/tunix/bin/python experiments/bench/tunix_step.py --lengths=lengths.json --json=results.jsonl

The sampler decodes all rows until the last one has met its end of sequence, which logits are overwritten to draw at
each row's length. Tunix counts tokens before the end of sequence, so a row draws it after its length. Completions are
padded to the longest allowed. The cache has just the room that the longest row needs (Tunix's default, 1024, would cost
the fixed work twice the time).
"""

import argparse
import functools
import importlib.metadata
import os
import time

import step_work


class Tokenizer:
    """Ids written as decimal numbers. Without a beginning of sequence, which the sampler would put before prompts."""

    def encode(self, text, **options):
        return [int(word) for word in text.split()]

    def decode(self, ids, **options):
        return " ".join(str(int(i)) for i in ids)

    def bos_id(self):
        return None

    def eos_id(self):
        return step_work.EOS

    def pad_id(self):
        return step_work.PAD

    def dedup_bos_ids(self, ids):
        return ids


def end_rows_at(lengths: list[int], prompt_tokens: int) -> None:
    """Has Tunix's sampler draw the end of sequence after each row's length, and nowhere else."""
    import jax.numpy as jnp
    from tunix.generate.sampler import Sampler

    draw, ends = Sampler._sample, jnp.array(lengths)

    def sample(self, logits, eos, cache, sampler_state):
        drawn = sampler_state.decoding_step + 1 - prompt_tokens
        logits = logits[:, -1:].at[..., [step_work.PAD, step_work.EOS]].set(-jnp.inf)
        end = jnp.full_like(logits, -jnp.inf).at[..., step_work.EOS].set(0.0)
        logits = jnp.where((ends == drawn)[:, None, None], end, logits)
        return draw(self, logits=logits, eos=eos, cache=cache, sampler_state=sampler_state)

    Sampler._sample = sample


def learner_of(args: argparse.Namespace, lengths: list[int]):
    """A GRPOLearner on this work."""
    import jax
    import optax
    from flax import nnx
    from tunix.models.llama3.model import Llama3, ModelConfig
    from tunix.rl import rl_cluster
    from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
    from tunix.rl.rollout.base_rollout import RolloutConfig

    shape = ModelConfig(
        num_layers=step_work.LAYERS,
        vocab_size=step_work.VOCAB,
        embed_dim=step_work.WIDTH,
        hidden_dim=step_work.MLP,
        num_heads=step_work.HEADS,
        head_dim=step_work.HEAD_DIM,
        num_kv_heads=step_work.KV_HEADS,
        rope_theta=10_000,
        norm_eps=1e-5,
        weight_tying=True,
    )
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def model():
        module = Llama3(shape, rngs=nnx.Rngs(0))
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        nnx.update(module, jax.device_put(nnx.state(module), everywhere))
        return module

    Role, prompts_at_a_time = rl_cluster.Role, args.prompts // args.microbatches
    training = rl_cluster.RLTrainingConfig(
        actor_optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-5, weight_decay=0.0)),
        eval_every_n_steps=1_000_000,
        max_steps=args.warmup + args.steps,
        mini_batch_size=args.prompts,
        train_micro_batch_size=prompts_at_a_time,
        rollout_micro_batch_size=args.prompts,
        compute_logps_micro_batch_size=prompts_at_a_time,
    )
    rollout = RolloutConfig(
        max_tokens_to_generate=max(lengths),
        max_prompt_length=args.prompt_tokens,
        kv_cache_size=args.prompt_tokens + max(lengths),
        temperature=1.0,
        top_p=1.0,
    )
    cluster = rl_cluster.RLCluster(
        actor=model(),
        reference=model(),
        tokenizer=Tokenizer(),
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh=dict.fromkeys((Role.ACTOR, Role.REFERENCE, Role.ROLLOUT), mesh),
            training_config=training,
            rollout_config=rollout,
        ),
    )
    drawn = []

    def reward(prompts, completions, **columns):
        rows = [[int(word) for word in text.split()] for text in completions]
        drawn.extend(len(row) for row in rows)
        if len(drawn) == len(lengths):
            step_work.check_lengths(drawn, lengths)
            drawn.clear()
        return [step_work.reward(row) for row in rows]

    algorithm = GRPOConfig(num_generations=args.samples, num_iterations=1, beta=0.001)
    return GRPOLearner(rl_cluster=cluster, algo_config=algorithm, reward_fns=reward)


def watch_steps(learner) -> list[dict[str, float]]:
    """The seconds of each step, filled in as the learner trains."""
    import jax
    from flax import nnx

    steps, seconds = [], {}
    cluster, run_step = learner.rl_cluster, learner._run_global_step

    def waiting(call, phase):
        @functools.wraps(call)
        def timed(*arguments, **options):
            began = time.perf_counter()
            result = jax.block_until_ready(call(*arguments, **options))
            seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - began
            return result

        return timed

    def timed_step(*arguments):
        seconds.clear()
        began = time.perf_counter()
        run_step(*arguments)
        jax.block_until_ready(nnx.state(cluster.actor_trainer.model))
        if seconds:
            steps.append({"step": time.perf_counter() - began, **seconds})

    cluster.generate = waiting(cluster.generate, "sampling")
    cluster.get_ref_per_token_logps = waiting(cluster.get_ref_per_token_logps, "log-probs")
    learner._run_global_step = timed_step
    return steps


def main() -> None:
    args = step_work.parser(__doc__.partition("\n")[0]).parse_args()
    os.environ |= {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    import jax
    import numpy as np
    from flax import nnx

    lengths, prompts = step_work.completion_lengths(args), step_work.draw_prompts(args)
    end_rows_at(lengths, args.prompt_tokens)
    learner = learner_of(args, lengths)
    steps, actor = watch_steps(learner), learner.rl_cluster.actor_trainer.model
    before = [np.array(weights) for weights in jax.tree.leaves(nnx.state(actor, nnx.Param))]
    learner.train([{"prompts": np.array(prompts[i : i + args.prompts])} for i in range(0, len(prompts), args.prompts)])
    after = [np.array(weights) for weights in jax.tree.leaves(nnx.state(actor, nnx.Param))]
    if all(np.array_equal(*pair) for pair in zip(before, after, strict=True)):
        raise RuntimeError("the weights did not change")
    step_work.write_result(
        args,
        lengths,
        steps,
        tunix=importlib.metadata.version("google-tunix"),
        jax=jax.__version__,
        parameters=sum(weights.size for weights in after),
    )


if __name__ == "__main__":
    main()
