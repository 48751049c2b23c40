"""The format of a policy's prompts, recorded in its folder so that later stages prompt it as in training."""

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
    """The format of prompts and of responses.

    Attributes:
        template: a name in `r1jax.text.chat.TEMPLATES`.
        chat: the rendered template is the user's message in the model's own chat template.
        marker: of the cold-start format, see `data.types.Prompt.marker`; "": the format of the tags; None: unknown.
        template_arguments: further variables of the chat template.
    """

    template: str
    chat: bool
    marker: str | None = None
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, cfg: Any) -> "PromptFormat":
        """The format of a config whose fields are all set."""
        return cls(**{field.name: getattr(cfg, field.name) for field in dataclasses.fields(cls)})

    def content(self) -> bytes:
        """The content of `FILE`."""
        return f"{json.dumps(config.to_dict(self), ensure_ascii=False)}\n".encode()

    def fill(self, cfg: T) -> T:
        """The config with its unset fields as in this format."""
        values = {name: value for name in left_open(cfg) if (value := getattr(self, name)) is not None}
        if not (self.chat and values.get("chat", cfg.chat)):
            values.pop("template_arguments", None)
        return dataclasses.replace(cfg, **values)

    def differences(self, cfg: Any) -> list[str]:
        """Names of a config's fields that differ from this format; a field that either leaves unset does not."""
        pairs = {
            field.name: (getattr(self, field.name), getattr(cfg, field.name, None))
            for field in dataclasses.fields(self)
        }
        return [name for name, (own, other) in pairs.items() if own != other and None not in (own, other)]


R1_ZERO = PromptFormat("r1_zero", False, "")


def left_open(cfg: Any) -> list[str]:
    """The fields of a format that a config leaves unset."""
    return [field.name for field in dataclasses.fields(PromptFormat) if getattr(cfg, field.name) in (None, {})]


def read(path: pathlib.Path) -> PromptFormat | None:
    """The format recorded in a model folder; None: it records none.

    Raises:
        ValueError: a file that holds no format, or should not be opened.
    """
    if not path.is_dir() or not exists(path / FILE):
        return None
    return config.parse(PromptFormat, read_object(path / FILE), str(path / FILE))
