"""Verdicts on unusual answers: right ones in unusual spellings, and wrong ones that are close to right.

    ./launch_local.sh python experiments/unusual_answers.py DATA [ANSWERS ...]          10 seconds

ANSWERS are files of them; without any, `unusual_answers.jsonl` and `unusual_answers_2.jsonl`. Each of these two, 100
right answers and 100 wrong ones, was written by hand, without a look at the graders, for public problems, the second
for other ones: each line has the data set and the row that it answers, the response, whether that is right, and what is
odd or wrong about it. The problems and their references are not in it, as r1jax may not publish the data sets: DATA
is a folder of them, such as DATA/math500/test.jsonl. Prints each file's counts and each miss as Markdown.
"""

import functools
import pathlib
import signal
import sys
from typing import Any

from r1jax.data.types import VERDICTS, Prompt, Rollout
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.io import jsonl, row_files
from r1jax.io.tables import markdown_cell, markdown_code, markdown_row

HERE = pathlib.Path(__file__).parent
ANSWERS = [HERE / "unusual_answers.jsonl", HERE / "unusual_answers_2.jsonl"]
CONFIG = GraderConfig()


def out_of_time(*_: Any) -> None:
    raise TimeoutError


@functools.cache
def rows(path: pathlib.Path) -> dict[str, jsonl.Row]:
    """A data set's rows by their ids."""
    return {row["id"]: row for row in row_files.read_questions(path)[0]}


def verdict(row: jsonl.Row, answer: dict[str, Any]) -> str:
    """The grader's verdict on a response, or the error that took its place."""
    metadata = {key: value for key, value in row.items() if key not in ("id", "prompt", "answer", "grader")}
    signal.setitimer(signal.ITIMER_PROF, CONFIG.timeout_s)
    try:
        source = f"{grader_table.check_row(row)}:{answer['data']}"
        prompt = Prompt(row["id"], row["prompt"], row["answer"], source, metadata=metadata)
        return grader_table.grade(Rollout.of_text(prompt, answer["response"]), CONFIG).verdict
    except TimeoutError:
        return "timeout"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> None:
    data, *files = map(pathlib.Path, sys.argv[1:])
    signal.signal(signal.SIGPROF, out_of_time)
    misses = []
    print("| answers | right ones accepted | wrong ones refused |\n|---|---|---|")
    for file in files or ANSWERS:
        total, passed = {True: 0, False: 0}, {True: 0, False: 0}
        for answer in jsonl.read_objects(file, lambda row, line: row)[0]:
            row = rows(data / f"{answer['data']}.jsonl")[answer["id"]]
            actual_verdict = verdict(row, answer)
            total[answer["right"]] += 1
            # An error is a miss, whatever the right verdict.
            if actual_verdict in VERDICTS and (actual_verdict == "right") == answer["right"]:
                passed[answer["right"]] += 1
            else:
                misses.append((file.name, answer, actual_verdict, row["answer"]))
        print(
            markdown_row(
                [markdown_cell(file.name), *(f"{passed[is_right]} of {total[is_right]}" for is_right in (True, False))]
            )
        )
    print("\n| answers | should be | verdict | kind | reference | response | row |\n|---|---|---|---|---|---|---|")
    for name, answer, actual_verdict, reference in misses:
        should = "right" if answer["right"] else "wrong"
        plain = (name, should, actual_verdict, answer["kind"])
        print(
            markdown_row(
                [
                    *map(markdown_cell, plain),
                    markdown_code(reference),
                    markdown_code(answer["response"]),
                    markdown_cell(f"{answer['data']} {answer['id']}"),
                ]
            )
        )


if __name__ == "__main__":
    main()
