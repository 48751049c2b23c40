"""Config of a model: its sizes, named presets, and the truncation of its logits in sampling; free of JAX."""

import dataclasses
from typing import Literal

from r1jax.config import above, at_least, within

DType = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the length that a model was pretrained at.

    Attributes:
        kind: "llama3" (Llama 3.1, smooth between two wavelengths), "yarn" (Peng et al., arXiv 2309.00071) or "linear".
        factor: new length / old length.
        original_length: tokens of the pretraining context.
        low_frequency_factor, high_frequency_factor: llama3: wavelengths above original_length / low are divided by
            factor, those below original_length / high are kept.
        beta_fast, beta_slow: yarn: dimensions that turn more than `beta_fast` times within the original length are
            kept, those that turn less than `beta_slow` times are divided by factor.
        mscale, mscale_all_dim: yarn: rotated vectors are scaled by m(mscale) / m(mscale_all_dim) and, in MLA, scores
            by m(mscale_all_dim)^2, where m(x) = 0.1 x ln(factor) + 1. With either 0, rotated vectors are scaled by
            m(1) (the paper's rule).
        attention_factor: yarn: the scale of rotated vectors itself, where a model states one; 0: by the rule above.
    """

    kind: Literal["llama3", "yarn", "linear"]
    factor: float
    original_length: int = 0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 0.0
    mscale_all_dim: float = 0.0
    attention_factor: float = 0.0

    def __post_init__(self):
        above(0, self, "factor", "low_frequency_factor", "high_frequency_factor", "beta_fast", "beta_slow")
        at_least(0, self, "original_length", "mscale", "mscale_all_dim", "attention_factor")
        if self.kind != "linear":
            at_least(1, self, "original_length")
        if self.kind == "llama3" and self.low_frequency_factor >= self.high_frequency_factor:
            raise ValueError(
                f"low_frequency_factor={self.low_frequency_factor} must be below "
                f"high_frequency_factor={self.high_frequency_factor}"
            )
        if self.kind == "yarn" and self.beta_slow >= self.beta_fast:
            raise ValueError(f"beta_slow={self.beta_slow} must be below beta_fast={self.beta_fast}")


@dataclasses.dataclass(frozen=True)
class MLAConfig:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    Attributes:
        q_rank: width of the queries' latent; 0: queries come straight from the residual stream (V2-Lite).
        kv_rank: width R of the latent that keys and values are made from: what the cache holds.
        nope_dim: width of a head's query and key without position.
        rope_dim: width of a head's rotated query, and of the one rotated key that all heads share.
        v_dim: width of a head's value.
    """

    q_rank: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    v_dim: int

    def __post_init__(self):
        at_least(0, self, "q_rank")
        at_least(1, self, "kv_rank", "nope_dim", "rope_dim", "v_dim")
        if self.rope_dim % 2:
            raise ValueError(f"rope_dim={self.rope_dim} must be even for rotary positions")


@dataclasses.dataclass(frozen=True)
class MoEConfig:
    """Experts in place of the MLP (DeepSeek-V3, arXiv 2412.19437, section 2.1.2).

    Attributes:
        num_experts: routed experts E.
        top_k: experts that a token goes to.
        expert_dim: inner width of an expert.
        num_shared: experts that every token goes to, as one MLP of that many times `expert_dim`; 0 for none.
        first_dense: leading layers that keep the ordinary MLP.
        num_groups, top_groups: experts stand in groups of equal size, and a token's come from its best `top_groups`.
        scoring: "sigmoid" (V3): a group's score is the sum of its two best, and a learnt bias takes part in the
            selection, not in the weights. "softmax" (V2): a group's score is its best, and there is no bias.
        normalize: the chosen experts' weights are divided by their sum.
        scale: then multiplied by this.
    """

    num_experts: int
    top_k: int
    expert_dim: int
    num_shared: int = 1
    first_dense: int = 0
    num_groups: int = 1
    top_groups: int = 1
    scoring: Literal["sigmoid", "softmax"] = "sigmoid"
    normalize: bool = True
    scale: float = 1.0

    def __post_init__(self):
        at_least(1, self, "num_experts", "top_k", "expert_dim", "num_groups", "top_groups")
        at_least(0, self, "num_shared", "first_dense")
        above(0, self, "scale")
        if self.num_experts % self.num_groups:
            raise ValueError(f"num_experts={self.num_experts} is not a multiple of num_groups={self.num_groups}")
        reachable = self.num_experts // self.num_groups * min(self.top_groups, self.num_groups)
        if self.top_groups > self.num_groups or self.top_k > reachable:
            raise ValueError(
                f"top_k={self.top_k} experts out of top_groups={self.top_groups} of {self.num_groups} "
                f"groups: there are only {reachable}"
            )
        if self.scoring == "sigmoid" and self.num_groups > 1 and self.num_experts // self.num_groups < 2:
            raise ValueError(
                f"num_groups={self.num_groups} of num_experts={self.num_experts}: a group's score is the "
                "sum of its two best experts, and groups of one have none"
            )


@dataclasses.dataclass(frozen=True)
class ComputeConfig:
    """How a model is computed, whatever it is; a run's config sets these over what the model folder says.

    Attributes:
        dtype: compute type; norms, softmax, router and log-probs are float32 whatever it is.
        remat: recompute each block in the backward pass instead of keeping its activations.
        scan_unroll: layers unrolled in each turn of the scan over layers. 1 compiles fastest; all of them run fastest
            on CPU, where the loop hides matrix products from the threaded kernels.
    """

    dtype: DType = "float32"
    remat: bool = False
    scan_unroll: int = 1

    def __post_init__(self):
        at_least(1, self, "scan_unroll")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A decoder: pre-norm, rotary positions, SwiGLU; grouped-query or latent attention; dense or with experts.

    Attributes:
        vocab_size: rows of the embedding; 0 means "as the tokenizer has", filled in before the model is built.
        embed_dim: width D of the residual stream.
        num_layers: blocks L.
        num_heads: query heads N.
        num_kv_heads: key and value heads K; N is a multiple of K. With `mla`: N.
        head_dim: width H of a head. With `mla`: that of its query, nope_dim + rope_dim.
        mlp_dim: inner width F of the SwiGLU of dense layers.
        rope_theta: base of the rotary frequencies.
        norm_eps: epsilon of the RMS norms.
        tie_embeddings: one table embeds and unembeds.
        dtype, scan_unroll, remat: see `ComputeConfig`.
        attention_bias: queries, keys and values have biases (Qwen2).
        qk_norm: each head's query and key is RMS-normed before it is rotated (Qwen3).
        rope_scaling: how positions are stretched, None for not at all.
        mla: latent attention in place of grouped-query attention.
        moe: experts in place of the MLP.
        mtp_depth: multi-token prediction: that many further blocks, each predicting one token further ahead.
    """

    vocab_size: int
    embed_dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_dim: int
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    tie_embeddings: bool = True
    dtype: DType = "float32"
    scan_unroll: int = 1
    remat: bool = False
    attention_bias: bool = False
    qk_norm: bool = False
    rope_scaling: RopeScaling | None = None
    mla: MLAConfig | None = None
    moe: MoEConfig | None = None
    mtp_depth: int = 0

    def __post_init__(self):
        at_least(1, self, "embed_dim", "num_layers", "num_heads", "num_kv_heads", "head_dim", "mlp_dim", "scan_unroll")
        at_least(0, self, "vocab_size", "mtp_depth")
        above(0, self, "rope_theta", "norm_eps")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads={self.num_heads} is not a multiple of num_kv_heads={self.num_kv_heads}")
        if self.mla is None and self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even for rotary positions")
        if self.mla and (self.num_kv_heads, self.head_dim) != (self.num_heads, self.mla.nope_dim + self.mla.rope_dim):
            raise ValueError(
                f"with mla, num_kv_heads must be num_heads={self.num_heads} and head_dim nope_dim + rope_dim = "
                f"{self.mla.nope_dim + self.mla.rope_dim}; they are {self.num_kv_heads} and {self.head_dim}"
            )
        if self.mla and (self.attention_bias or self.qk_norm):
            raise ValueError("latent attention has neither attention_bias nor qk_norm")
        if self.moe and self.moe.first_dense > self.num_layers:
            raise ValueError(f"moe.first_dense={self.moe.first_dense} of num_layers={self.num_layers}")

    @property
    def num_dense_layers(self) -> int:
        """Leading layers with an ordinary MLP; the others have experts."""
        return self.moe.first_dense if self.moe else self.num_layers


def _qwen2_5(
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    mlp: int,
    tied: bool = False,
    eps: float = 1e-6,
    vocab: int = 152_064,
) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab,
        embed_dim=width,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=width // heads,
        mlp_dim=mlp,
        rope_theta=1e6,
        norm_eps=eps,
        tie_embeddings=tied,
        dtype="bfloat16",
        attention_bias=True,
    )


def _llama3(layers: int, width: int, heads: int, mlp: int, factor: float, tied: bool = False) -> ModelConfig:
    return ModelConfig(
        vocab_size=128_256,
        embed_dim=width,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=8,
        head_dim=128 if width > 2048 else 64,
        mlp_dim=mlp,
        rope_theta=5e5,
        norm_eps=1e-5,
        tie_embeddings=tied,
        dtype="bfloat16",
        rope_scaling=RopeScaling("llama3", factor, 8192),
    )


# Sizes as their authors published them; a downloaded model brings its own config.json, these are for planning and for
# training from nothing. mini: about a million parameters, what two CPU cores can train while one waits.
PRESETS = {
    "mini": ModelConfig(
        vocab_size=0, embed_dim=128, num_layers=4, num_heads=4, num_kv_heads=2, head_dim=32, mlp_dim=448, scan_unroll=4
    ),
    "smollm2_135m": ModelConfig(
        vocab_size=49_152,
        embed_dim=576,
        num_layers=30,
        num_heads=9,
        num_kv_heads=3,
        head_dim=64,
        mlp_dim=1536,
        rope_theta=1e5,
        norm_eps=1e-5,
    ),
    "qwen2_5_0_5b": _qwen2_5(24, 896, 14, 2, 4864, tied=True, vocab=151_936),
    "qwen2_5_1_5b": _qwen2_5(28, 1536, 12, 2, 8960, tied=True, vocab=151_936),
    "qwen2_5_3b": _qwen2_5(36, 2048, 16, 2, 11_008, tied=True, vocab=151_936),
    "qwen2_5_7b": _qwen2_5(28, 3584, 28, 4, 18_944),
    "qwen2_5_14b": _qwen2_5(48, 5120, 40, 8, 13_824, eps=1e-5),
    "qwen2_5_32b": _qwen2_5(64, 5120, 40, 8, 27_648, eps=1e-5),
    "qwen2_5_72b": _qwen2_5(80, 8192, 64, 8, 29_568, eps=1e-5),
    "llama3_2_1b": _llama3(16, 2048, 32, 8192, factor=32.0, tied=True),
    "llama3_2_3b": _llama3(28, 3072, 24, 8192, factor=32.0, tied=True),
    "llama3_1_8b": _llama3(32, 4096, 32, 14_336, factor=8.0),
    "llama3_3_70b": _llama3(80, 8192, 64, 28_672, factor=8.0),
    "deepseek_v2_lite": ModelConfig(
        vocab_size=102_400,
        embed_dim=2048,
        num_layers=27,
        num_heads=16,
        num_kv_heads=16,
        head_dim=192,
        mlp_dim=10_944,
        tie_embeddings=False,
        dtype="bfloat16",
        rope_scaling=RopeScaling("yarn", 40.0, 4096, mscale=0.707, mscale_all_dim=0.707),
        mla=MLAConfig(q_rank=0, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128),
        moe=MoEConfig(64, 6, 1408, num_shared=2, first_dense=1, scoring="softmax", normalize=False),
    ),
    "deepseek_v3": ModelConfig(
        vocab_size=129_280,
        embed_dim=7168,
        num_layers=61,
        num_heads=128,
        num_kv_heads=128,
        head_dim=192,
        mlp_dim=18_432,
        tie_embeddings=False,
        dtype="bfloat16",
        remat=True,
        mtp_depth=1,
        rope_scaling=RopeScaling("yarn", 40.0, 4096, mscale=1.0, mscale_all_dim=1.0),
        mla=MLAConfig(q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128),
        moe=MoEConfig(256, 8, 2048, num_shared=1, first_dense=3, num_groups=8, top_groups=4, scale=2.5),
    ),
}


@dataclasses.dataclass(frozen=True)
class Truncation:
    """How logits become the distribution that is sampled from.

    Attributes:
        temperature: divides the logits; 0 is greedy and is for the sampler alone.
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: then keep the smallest set of most likely tokens whose mass reaches p; 1 keeps all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        at_least(0, self, "temperature", "top_k")
        within("(0, 1]", self, "top_p")
