"""Accuracy on mathematics: our rules for what the final answer is, math-verify for whether it equals the reference.

math-verify's own time-outs are off. They need signals and the main thread, and do not fire while one long operation
holds the interpreter lock; a killable process (`r1jax.rewards.pool`) does what they cannot.
"""

import functools
import logging
import re
from types import ModuleType
from typing import Any

from r1jax.data.types import Rollout
from r1jax.text.chat import split_response

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_MATH_DELIMITERS = re.compile(r"\$.+?\$|\\\(|\\\[|\\boxed", re.DOTALL)
_NO_PROSE = re.compile(r"\\(?:text\w*|mathrm|mbox|operatorname|begin|end)\s*\{[^{}]*\}")
_WORD = re.compile(r"(?<![\\A-Za-z])(?:[A-Za-z]{3,}|(?:[Ii][st]|[Ss]o)(?![A-Za-z]))")  # xy is a product
_CHINESE = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+")
_THOUSANDS = re.compile(r"(?<=\d),\\!\s*(?=\d{3})")
_ONLY_WORDS = re.compile(r"[A-Za-z][A-Za-z .'-]*")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _boxes(text: str) -> list[str]:
    """The contents of the outermost boxes; one that never closes is none."""
    contents, end = [], 0
    while box := _BOX.search(text, end):
        depth, end = 1, box.end()
        while depth and end < len(text):
            escaped = text[end - 1] == "\\"
            depth += 0 if escaped else (text[end] == "{") - (text[end] == "}")
            end += 1
        if depth == 0:
            contents.append(_one_line(text[box.end() : end - 1]))
    return contents


def final_answer(text: str) -> str | None:
    r"""The one answer that a response commits itself to, or None.

    Only what stands outside the thought counts. A `\boxed{}` wins over the words around it. Answers that differ, be
    it in boxes or in answer tags, are a conflict, hence None: listing candidates must not pay. So is an empty box.
    """
    response = split_response(text)
    found = [answer for part in response.answers or (response.final,) for answer in _boxes(part) or [part]]
    agree = len({"".join(answer.split()) for answer in found}) == 1
    return found[0] or None if agree else None


@functools.cache
def _math_verify() -> ModuleType:
    import math_verify  # imports sympy: about a second, and only the graders need it

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time-outs are off
    return math_verify


@functools.lru_cache(maxsize=256)  # a group's samples share their reference answer, and often their own
def _parse(answer: str) -> tuple[Any | None, bool]:
    """An answer as a sympy expression, or None, and whether it is a number written as a sum still to be worked out.

    A formula is read whole; only in prose, or around math delimiters, does math-verify go looking for the answer
    (its last formula or number). Of several lines of formulas the last counts.
    """
    answer = _THOUSANDS.sub("", answer.strip().removesuffix(".").strip())
    answer = answer.replace(r"\$", "$").replace(r"\%", "%").replace("\uff05", "%")
    if answer.count("$") == 1:  # a currency, not a delimiter
        answer = answer.replace("$", "")
    # math-verify sees a number only behind white space, which Chinese does not have.
    prose = _CHINESE.sub(" ", answer)
    if prose != answer:
        answer = prose
    elif not (_MATH_DELIMITERS.search(answer) or _WORD.search(_NO_PROSE.sub("", answer))):
        answer = f"${answer.splitlines()[-1]}$" if answer else ""
    elif _ONLY_WORDS.fullmatch(answer):  # a name, a colour, yes or no: equal as text or not at all
        answer = rf"$\text{{{answer}}}$"
    # No fallback to strings: math-verify drops the % from them, and would find "42" in both 42 and 42%.
    found = _math_verify().parse(answer, fallback_mode="no_fallback", parsing_timeout=None)
    import sympy  # math-verify has imported it by now

    # doit() makes 42% the number 0.42; left unevaluated, math-verify lets it equal 42 as well.
    try:
        if not found:
            return None, False
        if getattr(found[0], "is_Relational", False):  # 1 + 1 = 2 would become True; math-verify takes its right side
            return found[0], False
        value, to_do = found[0].doit(), getattr(found[0], "is_number", False) and found[0].has(sympy.Add)
        return value, bool(to_do and value.is_Rational)
    except Exception:  # sympy breaks down on some nonsense that it parses
        return None, False


def check_gold(answer: str) -> None:
    """Refuses a reference answer that could never be matched; to be called when data is loaded.

    Raises:
        ValueError: math-verify reads no expression in it.
    """
    if _parse(_one_line(answer))[0] is None:
        raise ValueError(f"reference answer {answer!r} cannot be read as mathematics; mend it or leave the line out")


def accuracy(rollout: Rollout) -> float | None:
    """1.0 when the final answer equals the reference, 0.0 when it does not or is missing.

    Where the reference is a number, a sum of numbers still to be worked out is no answer: "85 + 61" has the value 146,
    and a policy that is asked for it learns within ten steps to say the question again and stop.

    Returns:
        None only where the reference answer cannot be read, which `check_gold` refuses at load time.
    """
    gold, gold_is_sum = _parse(_one_line(rollout.prompt.answer))
    if gold is None:
        return None
    answer = final_answer(rollout.text)
    if answer is None:
        return 0.0
    target, is_sum = _parse(answer)
    if is_sum and not gold_is_sum:
        return 0.0
    return float(target is not None and _math_verify().verify(gold, target, timeout_seconds=None))
