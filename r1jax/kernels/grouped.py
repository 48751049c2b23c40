"""Grouped matrix products: each run of rows with a matrix of its own."""

import functools

import jax
import jax.numpy as jnp

from r1jax.core.sharding import platform


def is_nvidia() -> bool:
    """Whether the GPU is NVIDIA's."""
    return "cuda" in jax.devices()[0].client.platform_version


def grouped_product(
    x_MD: jax.Array, w_EDF: jax.Array, sizes_E: jax.Array, preferred_element_type: jax.typing.DTypeLike | None = None
) -> jax.Array:
    """`[M, F]`: the first `sizes_E[0]` rows times the first matrix, and so on; rows past the last are undefined.

    On TPUs XLA has a grouped kernel, but not for the gradient of the matrices, see `_d_matrices`. For NVIDIA's GPUs it
    makes one dense product of all rows with all matrices, E times the work and the memory (openxla/xla, pull request
    40189): there tokamax's kernels are used. A CPU does E times the work too.

    Raises:
        ValueError: on an NVIDIA GPU, without tokamax.
    """
    if platform() == "tpu":
        return _on_tpu(x_MD, w_EDF, sizes_E, preferred_element_type)
    if platform() != "gpu" or not is_nvidia():
        return jax.lax.ragged_dot(x_MD, w_EDF, sizes_E, preferred_element_type=preferred_element_type)
    try:
        import tokamax
    except ImportError as error:
        raise ValueError(
            f"a model with experts on an NVIDIA GPU needs tokamax: without its kernels XLA multiplies all tokens with "
            f"all {len(w_EDF)} experts of the device; pip install -e '.[experts]'"
        ) from error
    kernels = ("mosaic", "triton")  # and not its fallback, which is XLA's
    return tokamax.ragged_dot(
        x_MD, w_EDF, sizes_E, preferred_element_type=preferred_element_type, implementation=kernels
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _on_tpu(x_MD, w_EDF, sizes_E, preferred_element_type):
    return jax.lax.ragged_dot(x_MD, w_EDF, sizes_E, preferred_element_type=preferred_element_type)


def _on_tpu_forward(x_MD, w_EDF, sizes_E, preferred_element_type):
    return _on_tpu(x_MD, w_EDF, sizes_E, preferred_element_type), (x_MD, w_EDF, sizes_E)


def _on_tpu_backward(preferred_element_type, residuals, dy_MF):
    x_MD, w_EDF, sizes_E = residuals
    dy_MF = dy_MF.astype(x_MD.dtype)
    dx_MD = jax.lax.ragged_dot(dy_MF, w_EDF.swapaxes(1, 2), sizes_E)
    return dx_MD, _d_matrices(x_MD, dy_MF, sizes_E, w_EDF.dtype), None


_on_tpu.defvjp(_on_tpu_forward, _on_tpu_backward)
_LARGEST_TILE = 512  # rows; of a matrix' gradient twice as many are added up on the chip at a time


def _d_matrices(
    x_MD: jax.Array, dy_MF: jax.Array, sizes_E: jax.Array, dtype: jax.typing.DTypeLike, interpret: bool = False
) -> jax.Array:
    """`[E, D, F]`: each run's rows of x times those of dy, by a kernel of JAX's (MegaBlox, arXiv 2211.15841).

    XLA's own would be a dense product of all rows, masked, for each matrix: E times the work.
    """
    from jax.experimental.pallas.ops.tpu.megablox.gmm import tgmm  # a third of a second, which a CPU saves

    M, tile = len(x_MD), _LARGEST_TILE
    while tile > 128 and tile // 2 >= M:
        tile //= 2
    x_MD, dy_MF = (jnp.pad(x, ((0, -M % tile), (0, 0))) for x in (x_MD, dy_MF))
    widths = (min(2 * _LARGEST_TILE, x.shape[1]) for x in (x_MD, dy_MF))
    return tgmm(x_MD.T, dy_MF, sizes_E, dtype, (tile, *widths), interpret=interpret)
