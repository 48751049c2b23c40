"""The small parts of a block. Axes: B rows, T tokens, D model width, F MLP width, N heads, H head width."""

import functools
import math
import string
from typing import NamedTuple

import jax
import jax.numpy as jnp

from r1jax.core.sharding import TRAIN_RULES, constrain, platform
from r1jax.models.config import RopeScaling


def product(equation: str, x: jax.Array, w: jax.Array) -> jax.Array:
    """The einsum of activations with a weight, in x's type.

    Where the weight is kept in float32 and x is bfloat16, the weight's gradient leaves the product in float32, so that
    the sum over devices and over microbatches is of float32 numbers. Autodiff of a cast weight would round each
    device's part to bfloat16 and add the parts up in bfloat16.

    Args:
        equation: two operands; each index of an operand stands in the other one or in the result.
    """
    if x.dtype == jnp.float32 or w.dtype != jnp.float32:
        return jnp.einsum(equation, x, w.astype(x.dtype))
    return _product(equation, x, w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(equation: str, x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.einsum(equation, x, w.astype(x.dtype))


def _product_forward(equation, x, w):
    w = w.astype(x.dtype)
    return jnp.einsum(equation, x, w), (x, w)


def _product_backward(equation, residuals, dy):
    x, w = residuals
    operands, result = equation.split("->")
    of_x, of_w = operands.split(",")
    dx = jnp.einsum(f"{result},{of_w}->{of_x}", dy, w)
    return dx, jnp.einsum(f"{of_x},{result}->{of_w}", x, dy, preferred_element_type=jnp.float32)


_product.defvjp(_product_forward, _product_backward)


def empty_like(w: jax.Array) -> jax.Array:
    """`[len(w), 0]` in w's type: tells the backward pass of a function which type the gradient of w must have."""
    return jnp.empty((len(w), 0), w.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def whole(w: jax.Array, dtype: str, mesh_axes: tuple[str, ...], axis: int) -> jax.Array:
    """A weight in a type, gathered along `axis`; its gradient is summed over devices in float32. Inside a shard_map."""
    w = w.astype(dtype)
    return jax.lax.all_gather(w, mesh_axes, axis=axis, tiled=True) if mesh_axes else w


def whole_forward(w, dtype, mesh_axes, axis):
    return whole(w, dtype, mesh_axes, axis), empty_like(w)


def whole_backward(dtype, mesh_axes, axis, like, d):
    d = d.astype(jnp.float32)
    d = jax.lax.psum_scatter(d, mesh_axes, scatter_dimension=axis, tiled=True) if mesh_axes else d
    return (d.astype(like.dtype),)


whole.defvjp(whole_forward, whole_backward)


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x + bias in x's type; the bias's gradient is summed in float32."""
    return (x.astype(jnp.float32) + bias.astype(jnp.float32)).astype(x.dtype)


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """Root-mean-square norm over the last axis, in float32, returned in x's type (Zhang & Sennrich 2019)."""
    y = x.astype(jnp.float32)
    y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + eps)
    return (y * scale).astype(x.dtype)


def mscale(factor: float, weight: float) -> float:
    """YaRN's temperature, 0.1 weight ln(factor) + 1 (arXiv 2309.00071, eq. 22; DeepSeek-V2's weight)."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def rope_frequencies(half: int, theta: float, scaling: RopeScaling | None) -> jax.Array:
    """Radians a position of each of `half` rotated pairs, `[half]` float32, stretched as the model was."""
    frequencies = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "llama3":
        turns = scaling.original_length * frequencies / (2 * math.pi)  # within the original context
        low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
        kept_share = jnp.clip((turns - low) / (high - low), 0.0, 1.0)
    else:
        # The pair at which a frequency turns that often within the original context; whole pairs, as YaRN's authors do.
        first, last = (
            half * math.log(scaling.original_length / (turns * 2 * math.pi)) / math.log(theta)
            for turns in (scaling.beta_fast, scaling.beta_slow)
        )
        first, last = max(math.floor(first), 0), min(math.ceil(last), 2 * half - 1)
        kept_share = 1.0 - jnp.clip((jnp.arange(half) - first) / max(last - first, 1e-3), 0.0, 1.0)
    return frequencies * kept_share + frequencies / scaling.factor * (1.0 - kept_share)


class Rotation(NamedTuple):
    """Sine and cosine of each rotated pair's angle, `[B, T, 1, H/2]` float32: made once for all layers."""

    sin: jax.Array
    cos: jax.Array


def rotation(positions_BT: jax.Array, width: int, theta: float, scaling: RopeScaling | None = None) -> Rotation:
    """The rotation of `width` dimensions at each position.

    Angles are float32: bfloat16 positions above 256 would collide. Under YaRN the result of a rotation is also scaled,
    see `RopeScaling`.
    """
    angles = positions_BT[..., None, None].astype(jnp.float32) * rope_frequencies(width // 2, theta, scaling)
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    if scaling and scaling.kind == "yarn":
        length = scaling.attention_factor
        if not length and scaling.mscale and scaling.mscale_all_dim:
            length = mscale(scaling.factor, scaling.mscale) / mscale(scaling.factor, scaling.mscale_all_dim)
        length = length or mscale(scaling.factor, 1.0)
        sin, cos = sin * length, cos * length
    return Rotation(sin, cos)


def rope(x_BTNH: jax.Array, by: Rotation) -> jax.Array:
    """Rotary positions (Su et al. 2021), halves layout: dimension i turns together with i + H/2."""
    x1, x2 = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([x1 * by.cos - x2 * by.sin, x2 * by.cos + x1 * by.sin], axis=-1).astype(x_BTNH.dtype)


def project(x: jax.Array, w: jax.Array, axes: int = 1) -> jax.Array:
    """x's last `axes` axes contracted with w's first, in x's type, see `product`.

    On a CPU all other axes of x are one: the gradient of w is then a product of two matrices as they lie, where XLA
    would first write one of them transposed (a fifth of the backward pass). Two axes that are both cut cannot be one.
    """
    if platform() != "cpu" or TRAIN_RULES.ways("length") > 1:
        of_x, of_w = string.ascii_lowercase[: x.ndim - axes], string.ascii_uppercase[: w.ndim - axes]
        summed = string.ascii_lowercase[-axes:]
        return product(f"{of_x}{summed},{summed}{of_w}->{of_x}{of_w}", x, w)
    rows = x.reshape(-1, math.prod(w.shape[:axes]))
    y = product("rd,df->rf", rows, w.reshape(rows.shape[1], -1))
    return y.reshape(*x.shape[: x.ndim - axes], *w.shape[axes:])


def swiglu(x: jax.Array, gate_DF: jax.Array, up_DF: jax.Array, down_FD: jax.Array) -> jax.Array:
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""
    return project(jax.nn.silu(project(x, gate_DF)) * project(x, up_DF), down_FD)


def segment_sums(x_BTC: jax.Array, segments_BT: jax.Array) -> jax.Array:
    """At each token the sum of `x_BTC` over its segment, whose tokens stand side by side; `[B, T, C]`.

    Rows whose tokens are cut over devices are whole in between: a scan along the cut would gather pieces at each of its
    steps.
    """
    is_cut = TRAIN_RULES.ways("length") > 1 and x_BTC.shape[1] > 1
    if is_cut:
        x_BTC, segments_BT = (constrain(x, TRAIN_RULES, "batch", *(None,) * (x.ndim - 1)) for x in (x_BTC, segments_BT))
    changes = segments_BT[:, 1:] != segments_BT[:, :-1]
    starts = jnp.pad(changes, ((0, 0), (1, 0)), constant_values=True)
    ends = jnp.pad(changes, ((0, 0), (0, 1)), constant_values=True)

    def add(left, right):
        (sum_left, starts_left), (sum_right, starts_right) = left, right
        return jnp.where(starts_right, sum_right, sum_left + sum_right), starts_left | starts_right

    sums, _ = jax.lax.associative_scan(add, (x_BTC, starts[..., None]), axis=1)
    T = segments_BT.shape[1]
    end = jax.lax.cummin(jnp.where(ends, jnp.arange(T), T - 1), axis=1, reverse=True)
    sums = jnp.take_along_axis(sums, end[..., None], axis=1)
    return constrain(sums, TRAIN_RULES, "batch", "length", None) if is_cut else sums
