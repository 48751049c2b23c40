"""Models and data sets of the Hugging Face hub: their ids, and their files in the hub's local cache.

A model is `owner/name`, or `owner/name/file.gguf`; a split of a data set is `owner/name:split`, or
`owner/name:config:split`. Either may end in `@revision`, a branch, tag or commit; without one it is the newest commit.
A text whose first folder is in the working directory is a path, unless `hf://` or the hub's address stands before it.

Downloads, their progress, the cache (HF_HOME), offline mode (HF_HUB_OFFLINE) and access tokens are `huggingface_hub`'s.
"""

import dataclasses
import fnmatch
import functools
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from r1jax import config
from r1jax.io import buckets
from r1jax.io.files import one_line

# The files that r1jax reads of a model, others' and its own; a repository may hold the weights in further formats.
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
    "adapter_config.json",
    "model.json",
    "hf_config.json",
    "params/*",
    "checksums.txt",
    "prompt_form.json",
    "reward.json",
    "reward_head.npy",
)
# Endings of data files, of which a repository may hold the same rows: the first that it has is taken.
KINDS = (".parquet", ".jsonl", ".jsonl.gz", ".json", ".csv", ".tsv", ".arrow")
_CARD = "README.md"  # its metadata name a data set's configs and splits
_ADDRESS = re.compile(r"hf:/+(datasets/)?|(https?:/+)?(huggingface\.co|hf\.co)/(datasets/)?")
_REPOSITORY = r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)"
_REVISION = r"(@(?P<revision>[\w./-]+))?"
_MODEL = re.compile(rf"{_REPOSITORY}(/(?P<file>[\w./-]+\.gguf))?{_REVISION}")
_DATA = re.compile(rf"{_REPOSITORY}(:(?P<config>[\w.-]+))?:(?P<split>[\w.-]+){_REVISION}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NOT_NAMES = (".py", ".gguf", *KINDS)  # endings of files, not of repositories


@dataclasses.dataclass(frozen=True)
class HubId:
    """A model or a split of a data set.

    Attributes:
        kind: of the repository.
        repository: owner/name.
        file: of a model, the .gguf file that is meant; "": safetensors.
        config: of a data set; "": its only or its default one.
        split: of a data set.
        revision: branch, tag or commit; "": main.
    """

    kind: Literal["model", "dataset"]
    repository: str
    file: str = ""
    config: str = ""
    split: str = ""
    revision: str = ""

    def __str__(self) -> str:
        parts = [self.repository + (f"/{self.file}" if self.file else ""), self.config, self.split]
        return ":".join(filter(None, parts)) + (f"@{self.revision}" if self.revision else "")

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit."""
        return bool(_COMMIT.fullmatch(self.revision))

    @property
    def command(self) -> str:
        """The shell command that fetches the repository into the cache."""
        kind = " --repo-type dataset" if self.kind == "dataset" else ""
        revision = f" --revision {self.revision}" if self.revision else ""
        return f"hf download {self.repository}{f' {self.file}' if self.file else ''}{kind}{revision}"


def model_id(text: str | os.PathLike[str]) -> HubId | None:
    """The model of the hub that a text names; None: it is a path."""
    return _parsed("model", _MODEL, str(text))


def data_id(text: str | os.PathLike[str]) -> HubId | None:
    """The split of a data set of the hub that a text names; None: it is a path."""
    return _parsed("dataset", _DATA, str(text))


def _parsed(kind: Literal["model", "dataset"], pattern: re.Pattern[str], text: str) -> HubId | None:
    address = _ADDRESS.match(text)
    match = pattern.fullmatch(text[address.end() :] if address else text)
    if not match or match["repository"].endswith(_NOT_NAMES):
        return None
    parts = {name: part for name, part in match.groupdict().items() if part}
    named = HubId(kind, **parts)
    is_here = os.path.lexists(text) or pathlib.Path(text.partition("/")[0]).is_dir()
    return None if is_here and not (address or named.is_pinned) else named


def model_path(text: str | os.PathLike[str]) -> pathlib.Path:
    """The local path of a model; of one of the hub or a bucket, which is fetched where it is not there, in the cache.

    Raises:
        FileNotFoundError: it cannot be fetched, or the repository holds no model; a path is returned unchecked.
        PermissionError, ConnectionError, ValueError: of a bucket, see `buckets.errors_named`.
    """
    if buckets.is_address(text):
        return buckets.fetched(str(text), MODEL_FILES)
    named = model_id(text)
    if named is None:
        return pathlib.Path(text)
    beside = tuple(each for each in MODEL_FILES if "safetensors" not in each)
    folder = _fetch(named, (named.file, *beside) if named.file else MODEL_FILES)
    marks = (named.file,) if named.file else ("config.json", "model.json")
    if any((folder / name).is_file() for name in marks):
        return folder / named.file
    files = [name for name in _files_on_hub(named) if name.endswith(".gguf")]
    hint = f"; name one of its files: {config.listed(f'{named.repository}/{name}' for name in files)}" if files else ""
    raise FileNotFoundError(
        f"{named} on the Hugging Face hub holds no {named.file or 'model with a config.json'}{hint}"
    )


def data_files(named: HubId) -> list[pathlib.Path]:
    """The local files of a split, fetched where they are not there, in the order of their names.

    The metadata of the repository's card say which files these are. Where they do not, it is those named after the
    split, in the folder of the config if there is one: `main/train-00000-of-00001.parquet`.

    Raises:
        FileNotFoundError: they cannot be fetched, or there are none.
        ValueError: no such config or split; names those that exist.
    """
    folder = _fetch(named, (_CARD,))
    named = dataclasses.replace(named, revision=folder.name)
    if patterns := _card_patterns(named, folder):
        names = _names(_fetch(named, tuple(patterns)))
        names = list(dict.fromkeys(name for each in patterns for name in fnmatch.filter(names, each)))
    else:
        names = _named_after_split(named)
    if not names:
        there = config.listed(_files_on_hub(named))
        raise FileNotFoundError(f"{named} on the Hugging Face hub has no files of that split; it has {there}")
    return [folder / name for name in names]


def _named_after_split(named: HubId) -> list[str]:
    """The data files in whose path the split is a word, of one kind.

    Where there is none: those with the split beside digits or underscores; of `train`, all.
    """
    below = f"{named.config}/" if named.config else ""
    names = _names(_fetch(named, (f"{below}*{named.split}*",)))
    choices = [
        [name for name in names if name.startswith(below) and re.search(pattern, name.removeprefix(below))]
        for pattern in (
            rf"(?<![A-Za-z0-9]){re.escape(named.split)}(?![A-Za-z0-9_])",
            rf"(?<![A-Za-z]){re.escape(named.split)}(?![A-Za-z])",
        )
    ]
    if named.split == "train" and not any(choices):
        names = _names(_fetch(named, tuple(f"{below}*{kind}" for kind in KINDS)))
        choices.append([name for name in names if name.startswith(below)])
    for chosen in choices:
        for kind in KINDS:
            if files := [name for name in chosen if name.endswith(kind)]:
                return files
    return []


def _names(folder: pathlib.Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def pinned(named: HubId) -> HubId:
    """The id with the commit that its revision is now, or in the cache where there is no network; fetches all of it.

    Raises:
        FileNotFoundError, ValueError: see `model_path` and `data_files`.
    """
    text = f"hf://{named}"
    path = model_path(text) if named.kind == "model" else data_files(named)[0]
    while path.parent.name != "snapshots":
        path = path.parent
    return dataclasses.replace(named, revision=path.name)


def model_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files of a model folder; in the hub's cache, where other programs may add to it, those that r1jax reads."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if folder.parent.name != "snapshots":
        return files
    return [file for file in files if _matches(file.relative_to(folder).as_posix(), MODEL_FILES)]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _card_patterns(named: HubId, folder: pathlib.Path) -> list[str]:
    """The patterns of a split's files in the card's metadata; none where these do not say."""
    import huggingface_hub

    card = folder / _CARD
    configs: Sequence[Any] = []
    if card.is_file():
        try:
            configs = (huggingface_hub.metadata_load(card) or {}).get("configs") or []
        except Exception as error:  # of a YAML parser
            raise ValueError(f"{card}: its metadata cannot be read: {one_line(error)}") from error
    by_name = {str(each.get("config_name")): each for each in configs if isinstance(each, dict)}
    if not by_name:
        return []
    default = next((name for name, each in by_name.items() if each.get("default") or name == "default"), "")
    chosen = named.config or (next(iter(by_name)) if len(by_name) == 1 else default)
    if chosen not in by_name:
        fault = f"no config {chosen!r}" if chosen else "several configs"
        raise ValueError(f"{named}: {named.repository} has {fault}; name one of: {config.listed(by_name)}")
    below = by_name[chosen].get("data_dir")
    files = by_name[chosen].get("data_files") or []
    if not files:
        return [f"{below}/*{named.split}*"] if below else []
    if isinstance(files, dict):
        files = [{"split": split, "path": path} for split, path in files.items()]
    elif isinstance(files, str) or all(isinstance(each, str) for each in files):
        files = [{"split": "train", "path": files}]
    by_split = {str(each["split"]): each["path"] for each in files}
    if named.split not in by_split:
        raise ValueError(
            f"{named}: no split {named.split!r}; {named.repository}:{chosen} has {config.listed(by_split)}"
        )
    patterns = by_split[named.split]
    return [
        f"{below}/{each}" if below else each for each in ([patterns] if isinstance(patterns, str) else list(patterns))
    ]


def _fetch(named: HubId, patterns: tuple[str, ...]) -> pathlib.Path:
    """The snapshot's folder in the cache with the files of these patterns."""
    try:
        return _snapshot(named.kind, named.repository, named.revision, patterns)
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise
        raise FileNotFoundError(_reason(named, error)) from error
    except Exception as error:  # of the library's network client, which its versions differ in
        raise FileNotFoundError(_reason(named, error)) from error


@functools.lru_cache
def _snapshot(kind: str, repository: str, revision: str, patterns: tuple[str, ...]) -> pathlib.Path:
    """Looked up once a process: each further time would ask the hub again, and print the progress."""
    import huggingface_hub

    return pathlib.Path(
        huggingface_hub.snapshot_download(
            repository, repo_type=kind, revision=revision or None, allow_patterns=list(patterns)
        )
    )


def _reason(named: HubId, error: Exception) -> str:
    from huggingface_hub import constants, errors

    subject = f"the {'data set' if named.kind == 'dataset' else 'model'} {named.repository}"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{subject} is open to those alone who accept its terms, on its page of the hub; then run `hf auth login`"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"there is no path {named} here, nor on the Hugging Face hub {subject}; if it is private: `hf auth login`"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{subject} has no revision {named.revision!r} on the Hugging Face hub"
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else one_line(error.__cause__ or error)
    return (
        f"{named} is no path here nor whole in the hub's cache {constants.HF_HUB_CACHE}, and the hub cannot be reached "
        f"({why}): fetch it where there is a network, `{named.command}`, and copy the cache, or name a local path"
    )


def _files_on_hub(named: HubId) -> list[str]:
    """The names of a repository's files, for an error; none where the hub cannot be asked."""
    import huggingface_hub

    try:
        revision = named.revision or None
        return huggingface_hub.HfApi().list_repo_files(named.repository, repo_type=named.kind, revision=revision)
    except Exception:
        return []
