"""The configs of the stages that train, without JAX."""

import dataclasses
from typing import Literal

from r1jax.config import above, at_least, seed_fits
from r1jax.core.config import MeshConfig, WatchdogConfig
from r1jax.data.miniworld.documents import CorpusConfig
from r1jax.data.preference_pairs import Kind, PreferenceDataConfig
from r1jax.data.sft import InstructionConfig
from r1jax.data.tasks import DataConfig
from r1jax.evaluation.config import EvalConfig, SupervisedEvalConfig
from r1jax.graders.config import JudgeConfig
from r1jax.inference.config import Reading, RolloutSamplingConfig
from r1jax.losses.config import AuxiliaryConfig, DistillationConfig, GRPOConfig
from r1jax.models.config import ComputeConfig, ModelConfig
from r1jax.rewards.config import RewardConfig
from r1jax.training.config import CheckpointConfig, FaultConfig, HostMemoryConfig, OptimizerConfig, TrackConfig


@dataclasses.dataclass(frozen=True)
class RLConfig:
    """One RL run.

    Attributes:
        stage: names the loop.
        base: where it starts: a model folder, an id of the Hugging Face hub (`Qwen/Qwen2.5-0.5B`), or the config of a
            run that makes one (`configs/base.py:mini`), which is made when it is not there yet.
        num_steps: rollouts.
        teacher: a model of the same vocabulary, named as `base`, which the policy is drawn to on its own samples:
            on-policy distillation (GKD, arXiv 2306.13649); "": none. It stays as it is, in the devices' memory.
        distillation: how; at weight 1 the rewards are only measured, below it the policy's objective has the rest.
        teacher_top_k: how many of the teacher's likeliest tokens the divergence tells apart at each sampled token; the
            others count together. They take 6 k + 2 bytes a token of the hosts' memory.
        seed: of questions, sampling and the random reward.
        auxiliary: what a mixture of experts adds to the loss.
        compute: overrides of how the model, and the teacher, are computed; None: as their folders have it.
        packing: pack several rollouts into a row, where that leaves microbatches of a minibatch empty, which then cost
            nothing; changes time, not results. On GPUs rows of several rollouts have a slower attention kernel than
            rows of one (r1jax's, not cuDNN's): where lengths differ little, false may be faster there.
        microbatches: pieces a minibatch is computed in; changes memory and what packing can save, not results.
        logprob_chunk: positions a row whose logits exist at a time.
        batch_bucket: rows are as long as the step's longest rollout, rounded up to one of few multiples of this many
            tokens (`r1jax.data.batching.row_length`), each of which is compiled once: to any multiple up to the eighth,
            beyond by at most a quarter of the length. An eighth of the longest that may come is a good choice.
        keep_rollouts: steps between those whose rollouts are kept in `rollouts/step_NNNNNN.jsonl`, each sample with its
            text, reward, parts and verdict, and its tokens in `rollout_tokens/`, for `r1jax replay`; 0: none.
        profile_at: step at which a profiler window opens; -1 for none.
        host_memory: what leaves the devices' memory while it is not in use.
    """

    stage: Literal["rl"]
    base: str
    num_steps: int
    data: DataConfig
    sampling: RolloutSamplingConfig = RolloutSamplingConfig()
    grpo: GRPOConfig = GRPOConfig()
    rewards: RewardConfig = RewardConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluation: EvalConfig = EvalConfig()
    teacher: str = ""
    distillation: DistillationConfig = DistillationConfig(weight=1.0, kl="reverse")
    teacher_top_k: int = 32
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    compute: ComputeConfig | None = None
    seed: int = 0
    packing: bool = True
    microbatches: int = 1
    logprob_chunk: int = 64
    batch_bucket: int = 64
    keep_rollouts: int = 1
    profile_at: int = -1
    mesh: MeshConfig = MeshConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig(every=25)
    faults: FaultConfig = FaultConfig()
    track: TrackConfig = TrackConfig()
    host_memory: HostMemoryConfig = HostMemoryConfig()

    def __post_init__(self):
        at_least(1, self, "num_steps", "teacher_top_k", "microbatches", "logprob_chunk", "batch_bucket")
        at_least(0, self, "keep_rollouts")
        at_least(-1, self, "profile_at")
        seed_fits(self)
        if not self.sampling.truncation.temperature:
            raise ValueError("sampling.truncation.temperature is 0: greedy samples of a group are all the same")
        rows = self.grpo.prompts_per_step * self.grpo.group_size // self.grpo.minibatches
        if rows % self.microbatches:
            raise ValueError(f"a minibatch of {rows} rows does not split into microbatches={self.microbatches}")
        if self.sampling.carry_over and not self.grpo.importance_cap:
            raise ValueError(
                f"sampling.carry_over={self.sampling.carry_over} with grpo.importance_cap=0: tokens that an earlier "
                "policy drew would count as if the present one had; set grpo.importance_cap, say to 2"
            )
        if self.sampling.carry_over and self.grpo.dynamic_sampling_rounds:
            raise ValueError(
                f"sampling.carry_over={self.sampling.carry_over} with grpo.dynamic_sampling_rounds="
                f"{self.grpo.dynamic_sampling_rounds}: whether a group has a signal is known when it is graded, and "
                "which groups a step gets must not depend on how long grading takes; set one of them to 0"
            )
        of_rewards = {"grpo.beta": self.grpo.beta, "grpo.dynamic_sampling_rounds": self.grpo.dynamic_sampling_rounds}
        if self.teacher and self.distillation.weight == 1 and (wrong := [key for key in of_rewards if of_rewards[key]]):
            raise ValueError(
                f"teacher={self.teacher} with distillation.weight=1 leaves nothing of the policy's objective, of which "
                f"{' and '.join(wrong)} would be a part: set {'=0 and '.join(wrong)}=0, or a weight below 1"
            )
        if self.rewards.overlong_buffer > self.sampling.max_new_tokens:
            raise ValueError(
                f"rewards.overlong_buffer={self.rewards.overlong_buffer} is longer than "
                f"sampling.max_new_tokens={self.sampling.max_new_tokens}"
            )

    @property
    def rows_at_a_time(self) -> int:
        """Rows of a microbatch."""
        return self.grpo.prompts_per_step * self.grpo.group_size // self.grpo.minibatches // self.microbatches


@dataclasses.dataclass(frozen=True)
class SupervisedConfig:
    """One supervised run.

    Attributes:
        stage: names the loop.
        seed: of weights and examples.
        model: the model's shape, for one that starts from nothing.
        base: where to start instead, as `RLConfig.base`.
        tokenizer: for a start from nothing, whose vocabulary to take, named as `base`. A student of its teacher's
            vocabulary can learn from its logits.
        vocab_size: without one, of the SentencePiece tokenizer that is trained on the first `tokenizer_documents`
            documents.
        tokenizer_documents: documents that such a tokenizer is trained on.
        corpus: the documents.
        data: prompts and responses to train on instead of the documents; the loss is on the responses.
        batch_size, seq_len: rows an update, tokens a row.
        documents_per_step: documents or instructions drawn for each update and packed first-fit; those that do
            not fit are dropped. 0: all up to the first that does not fit, which begins the next update.
        num_steps: updates.
        epochs: passes over the files of `data`, in place of num_steps; the number of updates is derived from them.
        soft_targets: the workdir of a run of stage `teach` on the same files: a teacher's distributions.
        distillation: how it is learnt.
        auxiliary: what a mixture of experts and multi-token prediction add to the loss.
        compute: overrides of how the base is computed; None: as its folder has it.
        microbatches: pieces a batch is computed in.
        logprob_chunk: positions a row whose logits exist at a time.
        log_every: steps between console lines.
        evaluation: benchmarks while it is trained.
    """

    stage: Literal["supervised"]
    optimizer: OptimizerConfig
    batch_size: int
    seq_len: int
    documents_per_step: int
    num_steps: int = 0
    epochs: float = 0.0
    model: ModelConfig | None = None
    base: str = ""
    seed: int = 0
    tokenizer: str = ""
    vocab_size: int = 640
    tokenizer_documents: int = 4000
    corpus: CorpusConfig = CorpusConfig()
    data: InstructionConfig | None = None
    soft_targets: str = ""
    distillation: DistillationConfig = DistillationConfig()
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    compute: ComputeConfig | None = None
    microbatches: int = 1
    logprob_chunk: int = 64
    log_every: int = 20
    evaluation: SupervisedEvalConfig = SupervisedEvalConfig()
    mesh: MeshConfig = MeshConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig(every=200)
    faults: FaultConfig = FaultConfig()
    track: TrackConfig = TrackConfig()

    def __post_init__(self):
        at_least(1, self, "batch_size", "seq_len", "microbatches", "logprob_chunk", "log_every")
        at_least(0, self, "num_steps", "epochs", "documents_per_step")
        at_least(1, self, "tokenizer_documents")
        at_least(261, self, "vocab_size")  # SentencePiece's 4 special tokens, the line break and 256 bytes
        seed_fits(self)
        if bool(self.num_steps) == bool(self.epochs):
            raise ValueError(
                f"num_steps={self.num_steps} and epochs={self.epochs}: set the length of training by exactly "
                "one of them, and the other to 0"
            )
        files = self.data.files if self.data else ()
        for name in ("epochs", "soft_targets"):
            if getattr(self, name) and not files:
                raise ValueError(f"{name}={getattr(self, name)} is of files: name them by data.path or data.paths")
        if self.tokenizer and self.base:
            raise ValueError("a base brings its own tokenizer: set tokenizer to '', or start from nothing")
        if self.base and self.model is not None:
            raise ValueError("give either a model's shape to start from nothing, or a base to start from")
        if self.compute and self.model is not None:
            raise ValueError(
                "compute is for a base; a model's shape says by its own dtype, remat and scan_unroll how it is computed"
            )
        if self.batch_size % self.microbatches:
            raise ValueError(f"batch_size={self.batch_size} does not split into microbatches={self.microbatches}")

    @property
    def held_out_share(self) -> float:
        """The share of questions that its training data leave out."""
        return self.data.held_out_share if self.data else self.corpus.held_out_share


@dataclasses.dataclass(frozen=True)
class AgreementConfig:
    """Evaluations on held-out examples: when, and on how many.

    Attributes:
        every: steps between evaluations during training; 0: only before and after.
        examples: how many, the first of a seeded order; 0: all.
    """

    every: int = 0
    examples: int = 0

    def __post_init__(self):
        at_least(0, self, "every", "examples")


def check_updates(epochs: int, num_steps: int, batch_size: int, microbatches: int) -> None:
    """Raises ValueError where neither or both of epochs and updates are set, or a batch has no equal pieces."""
    if bool(epochs) == bool(num_steps):
        raise ValueError(f"epochs={epochs} and num_steps={num_steps}: one of them says how long, the other is 0")
    if batch_size % microbatches:
        raise ValueError(f"batch_size={batch_size} does not split into microbatches={microbatches}")


@dataclasses.dataclass(frozen=True)
class PreferenceConfig:
    """One reward model.

    Attributes:
        stage: names the loop.
        kind: "pairwise": which of two responses is better (helpfulness); "pointwise": whether a response is safe
            (harmlessness).
        base: where it starts, as `RLConfig.base`. The head is always new.
        reading: how a prompt and a response are rendered for it; saved in its folder.
        batch_size: pairs, or single responses, an update.
        epochs: passes over the training examples, the last batch with what is left of them; 0: `num_steps` counts.
        num_steps: updates; 0: `epochs` counts.
        seed: of the head and of the examples' order.
        compute: overrides of how the base is computed; None: as its folder has it.
        microbatches: pieces a batch is computed in; changes memory, not results.
        batch_bucket: inputs are padded to a multiple of this many tokens; each multiple is compiled once.
        unit_examples: training examples, the first of the order, whose scores get a standard deviation of 1 in the
            folder; 0: the head is saved as it is.
        log_every: steps between console lines.
    """

    stage: Literal["preference"]
    kind: Kind
    base: str
    data: PreferenceDataConfig
    reading: Reading
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=6e-6)
    batch_size: int = 256
    epochs: int = 1
    num_steps: int = 0
    evaluation: AgreementConfig = AgreementConfig()
    seed: int = 0
    compute: ComputeConfig | None = None
    microbatches: int = 1
    batch_bucket: int = 64
    unit_examples: int = 1024
    log_every: int = 10
    mesh: MeshConfig = MeshConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    faults: FaultConfig = FaultConfig()
    track: TrackConfig = TrackConfig()

    def __post_init__(self):
        at_least(1, self, "batch_size", "microbatches", "batch_bucket", "log_every")
        at_least(0, self, "epochs", "num_steps", "unit_examples")
        seed_fits(self)
        check_updates(self.epochs, self.num_steps, self.batch_size, self.microbatches)
        if self.data.pairs_as_labels and self.kind == "pairwise":
            raise ValueError("data.pairs_as_labels makes labels of pairs, which kind=pointwise trains on")

    def examples(self, size: int) -> int:
        """Examples of the whole run, from `size` different ones."""
        return self.epochs * size or self.num_steps * self.batch_size


@dataclasses.dataclass(frozen=True)
class TeachConfig:
    """One teacher and some files.

    Attributes:
        stage: names the loop.
        data: the files, read as students will read them.
        batch_size, seq_len: rows read at a time, tokens a row.
        base: the teacher, as `RLConfig.base`.
        top_k: tokens kept of each distribution; all others are kept as one. Disk: 6 k + 2 bytes a target.
        temperature: divides the teacher's logits, and later the student's: above 1 the unlikely tokens count for more.
        compute: overrides of how the teacher is computed; None: as its folder has it.
        logprob_chunk: positions a row whose logits exist at a time.
    """

    stage: Literal["teach"]
    data: InstructionConfig
    batch_size: int
    seq_len: int
    base: str = ""
    top_k: int = 32
    temperature: float = 1.0
    compute: ComputeConfig | None = None
    logprob_chunk: int = 64
    mesh: MeshConfig = MeshConfig()
    watchdog: WatchdogConfig = WatchdogConfig()

    def __post_init__(self):
        at_least(1, self, "batch_size", "seq_len", "top_k", "logprob_chunk")
        above(0, self, "temperature")
        if not self.data.files:
            raise ValueError("the teacher reads files: name them by data.path or data.paths")


@dataclasses.dataclass(frozen=True)
class ResponsesConfig:
    """Sources of responses.

    Attributes:
        sources: JSONL files of `{"prompt", "responses": [...]}` or of `{"prompt", "response"}`, and folders of samples
            that were collected (questions.jsonl and samples.jsonl). Those of one prompt are put together, from all
            sources.
        marker: their form, see `data.types.Prompt.marker`.
        skip_bad_lines: leave out, and count, lines of the files that cannot be used.
    """

    sources: tuple[str, ...] = ()
    marker: str = ""
    skip_bad_lines: bool = False


@dataclasses.dataclass(frozen=True)
class JudgePairsConfig:
    """One set of pairs.

    Attributes:
        stage: names the work.
        judge: the model that compares; its weight is not used here.
        rounds: judgements of each pair; even, for half of them show it the other way round.
        temperature: the judge's; at 0 its repeated judgements would be the same.
        margin: a pair is kept where the mean of its judgements, -2 to 2, is further from 0 than this.
        pairs_per_prompt: compared of each prompt, drawn by the seed; all where there are fewer.
        length_ratio: the mean length of all chosen summaries is brought to at most this many times that of the rejected
            ones, and the other way round, by leaving out the pairs that differ most the wrong way; 0: left as it is.
        seed: of which pairs are compared, and which of a pair comes first.
    """

    stage: Literal["judge_pairs"]
    data: ResponsesConfig = ResponsesConfig()
    judge: JudgeConfig = JudgeConfig()
    rounds: int = 4
    temperature: float = 1.0
    margin: float = 1.0
    pairs_per_prompt: int = 1
    length_ratio: float = 1.1
    seed: int = 0
    mesh: MeshConfig = MeshConfig()
    watchdog: WatchdogConfig = WatchdogConfig()

    def __post_init__(self):
        at_least(0, self, "temperature", "margin", "length_ratio")
        at_least(1, self, "pairs_per_prompt")
        at_least(2, self, "rounds")
        seed_fits(self)
        if self.rounds % 2:
            raise ValueError(f"rounds={self.rounds} must be even: half of them show a pair the other way round")
        if self.margin >= 2:
            raise ValueError(f"margin={self.margin} keeps nothing: judgements go from -2 to 2")
        if self.length_ratio and self.length_ratio < 1:
            raise ValueError(f"length_ratio={self.length_ratio} must be at least 1, or 0 for off")
