"""The form of a policy's prompts, which goes along with its folder: so that it is asked later as it was trained."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

from r1jax import config
from r1jax.io.files import exists, read_object

FILE = "prompt_form.json"
T = TypeVar("T")  # a config with fields of these names, None (or {}) where it does not say


@dataclasses.dataclass(frozen=True)
class PromptFormat:
    """How questions become prompts, and what form the responses have.

    Attributes:
        template: a name in `r1jax.text.chat.TEMPLATES`.
        chat: the rendered template is the user's message in the model's own chat template.
        marker: of the cold-start form, see `data.types.Prompt.marker`; "": the form of the tags; None: not known.
        template_arguments: what else the chat template reads.
    """

    template: str
    chat: bool
    marker: str | None = None
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, cfg: Any) -> "PromptFormat":
        """The form that a config says in full."""
        return cls(**{field.name: getattr(cfg, field.name) for field in dataclasses.fields(cls)})

    def content(self) -> bytes:
        """What `FILE` holds."""
        return f"{json.dumps(config.to_dict(self), ensure_ascii=False)}\n".encode()

    def fill(self, cfg: T) -> T:
        """A config in which what it leaves open is as in this form."""
        values = {name: value for name in left_open(cfg) if (value := getattr(self, name)) is not None}
        if not (self.chat and values.get("chat", cfg.chat)):
            values.pop("template_arguments", None)
        return dataclasses.replace(cfg, **values)

    def differences(self, cfg: Any) -> list[str]:
        """Names of a config's fields that are not as in this form; what either does not know is no difference."""
        pairs = {
            field.name: (getattr(self, field.name), getattr(cfg, field.name, None))
            for field in dataclasses.fields(self)
        }
        return [name for name, (own, other) in pairs.items() if own != other and None not in (own, other)]


R1_ZERO = PromptFormat("r1_zero", False, "")


def left_open(cfg: Any) -> list[str]:
    """The fields of a form that a config does not say."""
    return [field.name for field in dataclasses.fields(PromptFormat) if getattr(cfg, field.name) in (None, {})]


def read(path: pathlib.Path) -> PromptFormat | None:
    """The form that goes along with a model folder; None: nothing does.

    Raises:
        ValueError: a file that is no form, or should not be opened.
    """
    if not path.is_dir() or not exists(path / FILE):
        return None
    return config.parse(PromptFormat, read_object(path / FILE), str(path / FILE))
