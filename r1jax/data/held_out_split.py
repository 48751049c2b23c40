"""A file's examples split by their prompts: those to train on, and those held out for evaluation."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from r1jax.data.tasks import is_held_out


class HasPrompt(Protocol):
    """An example that belongs to a prompt, its text before any template."""

    @property
    def prompt(self) -> str: ...


Example = TypeVar("Example", bound=HasPrompt)


def split(
    path: str, share: float, examples: Sequence[Example], left_out: Mapping[str, int], noun: str
) -> tuple[list[Example], list[Example]]:
    """The examples to train on and those held out, each in the file's order.

    Args:
        path: of the file, for the error.
        share: of the prompts that is held out, by `is_held_out`; 0: none.
        left_out: how many lines or examples are not among these, by reason.
        noun: what the examples are, plural.

    Raises:
        ValueError: no example is left to train on, or none to evaluate on where a share is held out.
    """
    out = [is_held_out(each.prompt, share) for each in examples]
    training = [each for each, held in zip(examples, out, strict=True) if not held]
    held_out = [each for each, held in zip(examples, out, strict=True) if held]
    if not training or (share and not held_out):
        counts = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise ValueError(
            f"{path} has {len(training)} {noun} to train on and {len(held_out)} held out by "
            f"data.held_out_share={share}, besides {counts}; with data.held_out_share=0 all are trained on and none is "
            "evaluated"
        )
    return training, held_out
