"""Configs of the device mesh and of the watchdog, without JAX."""

import dataclasses

from r1jax.config import at_least, nearest, within

# The mesh axes, the one whose devices are nearest to each other last.
MESH_AXES = ("data", "fsdp", "expert", "context", "tensor")


@dataclasses.dataclass(frozen=True)
class RuleChanges:
    """Changes to a table of rules: for each logical axis the mesh axes that shard it, joined by "+".

    "" leaves the table's own, "none" shards it over none. The tables are `r1jax.core.sharding.TRAIN_RULES` and
    `DECODE_RULES`.

    Attributes:
        batch: the rows of a batch, and the slots of decoding.
        length: the tokens of a row; in decoding they are never cut.
        embed: the side of a matrix that faces the residual stream.
        rank: that of a latent in latent attention.
        heads: query heads.
        kv_heads: key heads; as `heads`.
        mlp: the width of MLPs and experts.
        vocab: rows of the embedding and of the unembedding.
        experts: experts.

    Raises:
        ValueError: a name that is no mesh axis, or stands twice.
    """

    batch: str = ""
    length: str = ""
    embed: str = ""
    rank: str = ""
    heads: str = ""
    kv_heads: str = ""
    mlp: str = ""
    vocab: str = ""
    experts: str = ""

    def __post_init__(self):
        for logical, axes in self.changed():
            for axis in axes:
                if axis not in MESH_AXES:
                    raise ValueError(
                        f"{logical}={getattr(self, logical)!r}: {axis!r} is no mesh axis; nearest: "
                        f'{nearest(axis, MESH_AXES)}; several are joined by "+", and "none" is for none'
                    )
            if len(set(axes)) != len(axes):
                raise ValueError(f"{logical}={getattr(self, logical)!r} names a mesh axis twice")

    def changed(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(logical axis, mesh axes) of those that differ from the table."""
        fields = [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]
        return tuple((name, () if axes == "none" else tuple(axes.split("+"))) for name, axes in fields if axes)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the mesh axes, of which at most one may be -1, which takes the devices that the others leave; and what
    each shards, where that differs from the usual.

    Attributes:
        data: data parallelism: replicas with different rows.
        fsdp: as data, and in training the weights are sharded over it as well.
        expert: as data, and the experts are sharded over it.
        tensor: shards heads, the MLP's width and the vocabulary.
        context: shards the tokens of each row in training, and the weights as fsdp; in decoding as data.
        train_rules: changes to the table of rules for training.
        decode_rules: changes to that for decoding.

    Raises:
        ValueError: a size below -1, or 0.
    """

    data: int = -1
    fsdp: int = 1
    expert: int = 1
    tensor: int = 1
    context: int = 1
    train_rules: RuleChanges = RuleChanges()
    decode_rules: RuleChanges = RuleChanges()

    def __post_init__(self):
        at_least(-1, self, *MESH_AXES)
        for name, size in self.sizes().items():
            if size == 0:
                raise ValueError(f"{name}=0 must be at least 1, or -1 for what the other axes leave")

    def sizes(self) -> dict[str, int]:
        """The size of each mesh axis, in their order on the devices."""
        return {name: getattr(self, name) for name in MESH_AXES}


@dataclasses.dataclass(frozen=True)
class WatchdogConfig:
    """What is done where a run makes no progress (`r1jax.core.watchdog`), or a process of it gives no sign of life.

    Attributes:
        silent_s: seconds without progress after which that is reported, with the stacks of all threads of all processes
            in WORKDIR/stacks, and again after twice as long; 0: never.
        give_up_s: seconds without progress after which the run ends, with status 75 where it has saved a state; 0: it
            waits for ever.
        lost_s: of several processes, seconds without a sign of life of one after which it counts as dead, and the
            others end. Signs of life do not depend on progress: a process gives them while it compiles or grades.
    """

    silent_s: float = 900.0
    give_up_s: float = 0.0
    lost_s: float = 45.0

    def __post_init__(self):
        at_least(0, self, "silent_s", "give_up_s")
        within("[10, 90]", self, "lost_s")  # above, JAX aborts the processes
