"""The definition of a benchmark: its data, prompts, grader and figures; and the look-up by name or path.

Each set is one short file of `sets` that holds a `BENCHMARK`; a file elsewhere does as well, by its path. To add
one, copy the file that is most like it (`gsm8k.py` for an answer, `mmlu.py` for a choice, `humaneval.py` for tests).
"""

import dataclasses
import importlib
import importlib.util
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from r1jax.config import ConfigError, missing_file, module_spec, nearest

Row = dict[str, Any]
Group = Literal["maths", "code", "knowledge", "chinese", "judged", "logic"]

LETTERS = "ABCDEFGHIJ"
BOXED = "{prompt}\n\nPlease reason step by step, and put your final answer within \\boxed{}."
BOXED_ZH = "{prompt}\n\n请逐步推理，并把最终答案放在 \\boxed{} 中。"
LETTER = (
    "Answer the following multiple choice question. The last line of your response should be of the form "
    "'Answer: LETTER', where LETTER is the letter of the right option. Think step by step before answering.\n\n{prompt}"
)
LETTER_ZH = "请回答下面的单项选择题。先逐步思考，最后一行按“答案：字母”的格式给出正确选项的字母。\n\n{prompt}"


class Outcome(NamedTuple):
    """One graded sample, as benchmarks' own figures are computed from.

    Attributes:
        id: of its question.
        sample: index, 0 <= sample < k.
        score: 0.0 to 1.0; None: ungradable.
        verdict: why, one of `r1jax.data.types.VERDICTS`.
        answer: what the grader took for the answer, in one spelling; "": none.
        detail: what else the grader found, plain JSON.
        tokens: of the whole response.
        finish: "stop" or "length".
    """

    id: str
    sample: int
    score: float | None
    verdict: str
    answer: str = ""
    detail: Mapping[str, Any] = {}
    tokens: int = 0
    finish: str = "stop"


class Figure(NamedTuple):
    """A number and how sure it is.

    Attributes:
        value: a share from 0 to 1 where `unit` is "%", else a plain number.
        stderr: its standard error, the question being the unit; None: not known.
        low, high: the ends of its 95% interval; None: not known.
        unit: "%" or "".
    """

    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = "%"


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A set of questions and its protocol.

    Attributes:
        title: as papers write it.
        group: the part of the tables where it stands.
        grader: a key of `r1jax.graders.grader_table.GRADERS`, or of `r1jax.graders.judge_protocols.PROTOCOLS`.
        file: where it lies below the folder of data, if no path is given.
        hub: the original's split on the Hugging Face hub, which is fetched where no folder of data is named; "": none.
        licence: of the data, as far as its authors state one.
        adapt: a row of the public original -> `prompt`, `answer` and what else the grader needs; None: this row
            is left out. A row that has both already, as strings, does not come here. Raises KeyError or ValueError for
            a row it cannot use.
        prepare: the same for every row, after `adapt`.
        instruction: how it is asked; {prompt} is the row's. Everything else is literal.
        metric: the figure that stands in tables: "pass@1", or one of `summarize`.
        shots: solved examples before the question: the file's first rows, which are then not asked.
        votes: whether a majority over samples means anything (cons@k).
        summarize: (id -> row, outcomes) -> figures of its own by name.
        write: (folder, id -> row, outcomes, model's name): writes files of its own, say for a harness elsewhere.
    """

    title: str
    group: Group
    grader: str
    file: str = ""
    adapt: Callable[[Row], Row | None] | None = None
    prepare: Callable[[Row], Row | None] | None = None
    instruction: str = "{prompt}"
    metric: str = "pass@1"
    shots: int = 0
    votes: bool = False
    summarize: Callable[[Mapping[str, Row], Sequence[Outcome]], Mapping[str, Figure]] | None = None
    write: Callable[[pathlib.Path, Mapping[str, Row], Sequence[Outcome], str], None] | None = None
    hub: str = ""
    licence: str = ""


def find(name: str) -> Benchmark:
    """The benchmark of a file of `sets`, by its name, or of a file of the user's own, by its path.

    Raises:
        ConfigError: there is no such file, it does not load, or it holds no `BENCHMARK`; names the nearest.
    """
    if name.endswith(".py"):
        path = pathlib.Path(name)
        if not path.is_file():
            raise ConfigError(missing_file(path))
        source = module_spec(path.stem, path)
        module = importlib.util.module_from_spec(source)
        try:
            source.loader.exec_module(module)
        except Exception as error:
            raise ConfigError(f"{path} does not load: {error}") from error
        if not isinstance(getattr(module, "BENCHMARK", None), Benchmark):
            raise ConfigError(f"{path} holds no BENCHMARK = Benchmark(...)")
        return module.BENCHMARK
    if name not in names():
        raise ConfigError(f"no benchmark named {name!r}; nearest: {nearest(name, names())}")
    return importlib.import_module(f"r1jax.benchmarks.sets.{name}").BENCHMARK


def source(name: str, data: str) -> str:
    """Where a benchmark's rows are: its file below a folder of data, else its split of the Hugging Face hub.

    Args:
        data: the folder; "": none.

    Raises:
        ConfigError: see `find`; also a benchmark that needs the folder and has none, or has no file.
    """
    benchmark = find(name)
    if data and benchmark.file:
        return str(pathlib.Path(data) / benchmark.file)
    if not benchmark.hub:
        raise ConfigError(
            f"no data for {name}, which is not fetched from the Hugging Face hub: name the folder that holds "
            f"{benchmark.file or 'its file'}, or the file itself"
        )
    return benchmark.hub


def names() -> list[str]:
    """The benchmarks of `sets`."""
    files = pathlib.Path(__file__).with_name("sets").glob("*.py")
    return sorted(file.stem for file in files if "\nBENCHMARK = " in file.read_text("utf-8"))


def render(row: Row, instruction: str, shots: Sequence[Row]) -> str:
    """What the model is asked: solved examples, where there are any, then the instruction around the question."""
    examples = [f"{shot['prompt']}\nAnswer: {shot['answer']}\n\n" for shot in shots]
    # str.replace, not str.format: questions hold braces of their own.
    return instruction.replace("{prompt}", "".join(examples) + row["prompt"])


def options(choices: Sequence[str]) -> str:
    """Choices as lines `A. ...`, to stand below a question."""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
