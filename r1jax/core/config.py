"""Config of the device mesh, without JAX."""

import dataclasses

from r1jax.config import at_least


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the mesh axes; at most one may be -1, which takes the devices that the others leave.

    Attributes:
        data: data parallelism: replicas with different rows.
        fsdp: as data, and the weights are sharded over it as well.
        expert: as data, and the experts are sharded over it.
        tensor: shards heads, the MLP's width and the vocabulary.

    Raises:
        ValueError: a size below -1, or 0.
    """

    data: int = -1
    fsdp: int = 1
    expert: int = 1
    tensor: int = 1

    def __post_init__(self):
        at_least(-1, self, "data", "fsdp", "expert", "tensor")
        for name, size in dataclasses.asdict(self).items():
            if size == 0:
                raise ValueError(f"{name}=0 must be at least 1, or -1 for what the other axes leave")
