"""Grouped matrix products: each run of rows with a matrix of its own."""

import jax

from r1jax.core.sharding import platform


def is_nvidia() -> bool:
    """Whether the GPU is NVIDIA's."""
    return "cuda" in jax.devices()[0].client.platform_version


def grouped_product(
    x_MD: jax.Array, w_EDF: jax.Array, sizes_E: jax.Array, preferred_element_type: jax.typing.DTypeLike | None = None
) -> jax.Array:
    """`[M, F]`: the first `sizes_E[0]` rows times the first matrix, and so on; rows past the last are undefined.

    XLA has a grouped kernel for TPUs. For NVIDIA's GPUs it makes one dense product of all rows with all matrices, E
    times the work and the memory (openxla/xla, pull request 40189): there tokamax's kernels are used. A CPU does E
    times the work too.

    Raises:
        ValueError: on an NVIDIA GPU, without tokamax.
    """
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
