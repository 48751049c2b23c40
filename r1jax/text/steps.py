"""Steps of a response: the pieces between separators, for process rewards and for searches.

A step ends where a separator ends, its trailing blanks aside, which begin the next step: in most vocabularies a blank
begins a word's token. PRM800K (arXiv 2305.20050) has steps of one line, and "\\n" for a separator.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Literal

Combination = Literal["minimum", "last", "mean", "sum"]


def split_steps(text: str, separators: Sequence[str]) -> list[str]:
    """The steps of a text, which joined are the text.

    A piece that holds nothing but separators and white space is no step: it begins the next one, or at the end of the
    text belongs to the last one. So a response gets no more steps by empty lines.

    Args:
        separators: not empty, none of them "". Of two at one place the longer one counts.
    """
    steps, start = [], 0
    while (end := first_step_end(text[start:], separators)) is not None:
        steps.append(text[start : start + end])
        start += end
    rest = text[start:]
    if steps and not _has_content(rest, separators):
        steps[-1] += rest
    elif rest:
        steps.append(rest)
    return steps


def first_step_end(text: str, separators: Sequence[str]) -> int | None:
    """The number of characters of the first step; None where no separator ends it. Arguments as of `split_steps`."""
    for match in _pattern(separators).finditer(text):
        end = match.start() + len(match[0].rstrip(" "))
        if _has_content(text[:end], separators):
            return end
    return None


def separated(steps: Sequence[str], separators: Sequence[str]) -> list[str]:
    """The steps that a file lists, as `split_steps` would give them: each but the last one ends with a separator.

    Where there is none at the border of two steps, the first one of `separators` is put there.
    """
    pieces = list(steps)
    visible = separators[0].rstrip(" ")
    for at, (step, following) in enumerate(itertools.pairwise(steps)):
        blanks = following[: len(following) - len(following.lstrip(" "))]
        if not (step + blanks).endswith(tuple(separators)):
            pieces[at] += visible
            pieces[at + 1] = separators[0][len(visible) :] + following
    return pieces


def combine_steps(chances: Sequence[float], combination: Combination) -> float:
    """One score of a response from the chances of its steps, 0.0 where there are none.

    Args:
        combination: "minimum" (arXiv 2312.08935, section 3.4), "last", "mean", or "sum", which more steps make larger.
    """
    if not chances:
        return 0.0
    if combination == "minimum":
        return min(chances)
    if combination == "last":
        return chances[-1]
    return sum(chances) / (len(chances) if combination == "mean" else 1)


def _pattern(separators: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(each) for each in sorted(separators, key=len, reverse=True)))


def _has_content(text: str, separators: Sequence[str]) -> bool:
    return bool(_pattern([each.strip() for each in separators if each.strip()] or ["\0"]).sub("", text).strip())
