"""The shape of a model, and the shapes that have names."""

import dataclasses
from typing import Literal

from r1jax.config import at_least


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A dense decoder: pre-norm, rotary positions, grouped-query attention, SwiGLU.

    Attributes:
        vocab_size: rows of the embedding; 0 means "as the tokenizer has", filled in before the model is built.
        embed_dim: width D of the residual stream.
        num_layers: blocks L.
        num_heads: query heads N.
        num_kv_heads: key and value heads K; N is a multiple of K.
        head_dim: width H of a head.
        mlp_dim: inner width F of the SwiGLU.
        rope_theta: base of the rotary frequencies.
        norm_eps: epsilon of the RMS norms.
        tie_embeddings: one table embeds and unembeds.
        dtype: compute type; norms, softmax and log-probs are float32 whatever it is.
        scan_unroll: layers unrolled in each turn of the scan over layers. 1 compiles fastest; all of them run fastest
            on CPU, where the loop hides matrix products from the threaded kernels.
        remat: recompute each block in the backward pass instead of keeping its activations.
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
    dtype: Literal["float32", "bfloat16"] = "float32"
    scan_unroll: int = 1
    remat: bool = False

    def __post_init__(self):
        at_least(1, self, "embed_dim", "num_layers", "num_heads", "num_kv_heads", "head_dim", "mlp_dim", "scan_unroll")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads={self.num_heads} is not a multiple of num_kv_heads={self.num_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even for rotary positions")


# About a million parameters: what two CPU cores can train while one waits.
MINI = ModelConfig(
    vocab_size=0, embed_dim=128, num_layers=4, num_heads=4, num_kv_heads=2, head_dim=32, mlp_dim=448, scan_unroll=4
)
PRESETS = {"mini": MINI}
