"""Model cards: which models ship, what a model is for people, and where a served model lies."""

import dataclasses
import pathlib
from collections.abc import Mapping

from r1jax.config import listed
from r1jax.io import buckets, hub
from r1jax.io.files import read_json
from r1jax.models.io import MODEL, SHIPPED, is_model

CARDS = SHIPPED / "cards.json"


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """A description of a model, for people.

    Attributes:
        id: its name in the API.
        title: in a few words.
        note: how it was made, and what to look at.
        command: that makes it; "": unknown.
        figures: measured results, by name.
    """

    id: str
    title: str
    note: str = ""
    command: str = ""
    figures: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read_cards() -> dict[str, tuple[pathlib.Path, ModelCard]]:
    """The shipped models by name: their folders and cards, in the order in which they are shown."""
    content = read_json(CARDS)
    return {name: (SHIPPED / card.pop("folder"), ModelCard(name, **card)) for name, card in content.items()}


def find(name: str) -> tuple[pathlib.Path, ModelCard]:
    """The folder or file of a model and its card: a shipped model's by name, another by its path or hub id.

    Raises:
        FileNotFoundError: there is none, or it cannot be fetched from the hub.
    """
    cards = read_cards()
    if name in cards:
        return cards[name]
    if buckets.is_address(name) and buckets.stored(f"{name}/model/{MODEL}"):  # the workdir of a training
        name = f"{name.rstrip('/')}/model"
    path = hub.model_path(name)
    if not is_model(path) and is_model(path / "model"):
        path = path / "model"
    if not path.exists():
        raise FileNotFoundError(f"no model {name}: give a path, or the name of a shipped model: {listed(cards)}")
    named = hub.model_id(name)
    parts = [part for part in path.resolve().parts if part != "model"]
    return path, ModelCard(named.repository if named else parts[-1].removesuffix(".gguf"), name)
