"""Reflection and scripts of a text: words of reflection, and words by script, without code and formulas."""

import bisect
import functools
import re
from collections import Counter, defaultdict
from typing import NamedTuple

import regex  # it knows scripts, which re does not

from r1jax.text.chat import TAGS, plain

# fmt: off
REFLECTION_WORDS = (
    "wait", "hmm", "hold on", "actually", "however", "again", "let me", "let's see", "mistake", "mistakes", "wrong",
    "check", "checking", "recheck", "re-check", "double-check", "verify", "verifying", "retry", "reconsider",
    "等等", "等一下", "检查", "验算", "验证", "核对", "不对", "错了", "再算", "再想", "重新",
)
_UNITS_AND_FUNCTIONS = frozenset((
    "arccos", "arcsin", "arctan", "cos", "cot", "det", "exp", "gcd", "lcm", "lim", "ln", "log", "max", "min", "mod",
    "sin", "tan", "cl", "cm", "dl", "dm", "ft", "gb", "ghz", "hr", "hrs", "hz", "kb", "kg", "khz", "km", "kmh", "kwh",
    "lb", "lbs", "mb", "mg", "mhz", "ml", "mm", "mol", "mph", "nm", "oz", "pm", "rpm", "sec",
))
_SCRIPTS = (
    "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu", "Thai", "Hangul",
    "Armenian", "Georgian",
)
# fmt: on


def _alternatives(words: list[str]) -> str:
    # Longest first, so that "re-check" is one word of reflection and not also the "check" inside it.
    return "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True))


_REFLECTION = re.compile(
    rf"(?<![a-z])(?:{_alternatives([word for word in REFLECTION_WORDS if word.isascii()])})(?![a-z])"
    rf"|{_alternatives([word for word in REFLECTION_WORDS if not word.isascii()])}",
    re.IGNORECASE,
)

_PURE = {script: regex.compile(rf"[\p{{{script}}}\p{{M}}']+") for script in _SCRIPTS}
# In this order: a tag, a LaTeX command or an address, which are passed over; Han and kana, which have no blanks between
# words; a word of letters; the end of a sentence.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
_LETTERS = rf"[[\p{{L}}\p{{M}}]--{_UNSPACED}]++"
_TOKEN = regex.compile(
    rf"(?V1)(?P<pass>{'|'.join(TAGS)}|\\[A-Za-z]+|https?://[!-~]+)"
    r"|(?P<Han>\p{Han}[\p{Han}\p{M}]*+)|(?P<Kana>[\p{Hiragana}\p{Katakana}][\p{Hiragana}\p{Katakana}ー\p{M}]*+)"
    rf"|(?P<word>(?=\p{{L}}){_LETTERS}(?:'{_LETTERS})*+)"
    r"|(?P<end>[!?;:。…\n]|\.(?!\S))"
)
_MIXED_SYMBOL = regex.compile(r"(?=.*\p{Greek})(?=.*\p{Latin})[\p{Greek}\p{Latin}]{2,4}")
# What opens code or a formula, then what closes one, or only looks like either: a line break \\ and a dollar \$.
_DELIMITER = re.compile(
    r"(?P<opens>```|`|\$\$|\$|\\\(|\\\[|\[asy\]|\\begin\{[^{}\n]{1,20}\})"
    r"|\\\)|\\\]|\[/asy\]|\\end\{[^{}\n]{1,20}\}|\\\\|\\\$"
)
_CLOSES = {r"\(": r"\)", r"\[": r"\]", "[asy]": "[/asy]"}
_PROSE_GAP = regex.compile(r"""(?:[^\S\n]|[-_,.;'"!?$`~{}\p{L}]|\\(?:text\w*|mbox|mathrm|quad)\b|\\[,; ])*+""")
_PROSE_RUN = 8  # doubtful words with nothing but such gaps between them are prose
_DIGITS = frozenset("0123456789_")


def count_reflections(text: str) -> int:
    """The occurrences of `REFLECTION_WORDS`: English ones as whole words in any case, Chinese ones anywhere."""
    return len(_REFLECTION.findall(text))


class TextCounts(NamedTuple):
    """What is counted in a response.

    Attributes:
        reflections: see `count_reflections`; in the whole text.
        scripts: see `scripts`; in the thought, or in the text where there is none, without the question's words.
    """

    reflections: int
    scripts: Counter[str]


def count_text(text: str, thought: str, question: str) -> TextCounts:
    """Counts in a response, some milliseconds for each thousand tokens."""
    return TextCounts(count_reflections(text), scripts(thought or text, besides=question))


class Word(NamedTuple):
    """A word of prose.

    Attributes:
        text: the word; of Han or kana all that stand together, since they have no blanks between words.
        script: its Unicode script, "Kana" for hiragana and katakana; "other" where its letters are of several scripts
            or of one that is not listed.
        first: whether a sentence begins with it; a line or a colon ends one too.
    """

    text: str
    script: str
    first: bool


def words(text: str) -> list[Word]:
    r"""The words of a text, in order and in time linear in its length, without what is written alike in any language.

    Left out: digits, tags, LaTeX commands, web addresses, units and function names, Latin and Greek letters that stand
    alone; also Latin and Greek words that stand on a digit (2ab, 5cm, x_1), have up to four letters with a capital
    after the first or of both scripts (ABC, pH, Δx), or lie in code (fenced, in backticks, `[asy]`) or in a formula
    (`$`, `$$`, `\(`, `\[`, `\begin`). Prose put there is not left out: other scripts always count, and so do 8 such
    words or more with nothing between them but blanks, punctuation or `\text`. Code and formulas without delimiters
    are not seen through, nor prose in code whose lines have 7 words.
    """
    text = plain(text).replace("’", "'")
    regions = _regions(text)
    kept_words, doubtful, end_of_doubtful, first, at = [], [], 0, True, 0

    def settle() -> None:
        if len(doubtful) >= _PROSE_RUN:
            kept_words.extend(doubtful)
        doubtful.clear()

    for match in _TOKEN.finditer(text):
        kind, (start, end) = match.lastgroup, match.span()
        if kind in ("pass", "end"):
            first = first or kind == "end"
            continue
        word = Word(match[0], _script(match[0]) if kind == "word" else kind, first)
        first = False
        letters = word.script in ("Latin", "Greek") or _MIXED_SYMBOL.fullmatch(word.text) is not None
        if letters and (len(word.text) == 1 or word.text.lower() in _UNITS_AND_FUNCTIONS):
            continue
        while at < len(regions) and regions[at][1] <= start:
            at += 1
        in_region = at < len(regions) and regions[at][0] <= start
        if letters and (in_region or _on_digit(text, start, end) or _is_symbol(word)):
            if not _PROSE_GAP.fullmatch(text, end_of_doubtful, start):
                settle()
            doubtful.append(word)
            end_of_doubtful = end
        else:
            settle()
            kept_words.append(word)
    settle()
    return kept_words


def scripts(text: str, besides: str = "") -> Counter[str]:
    """Counts Latin words ("latin") and Han characters ("han") of a text's `words`; one that does not occur is absent.

    Other scripts are not counted. Latin words that stand in `besides`, say the question's names, are left out too.
    """
    excluded = {word.text for word in words(besides)}
    count = Counter()
    for word in words(text):
        if word.script == "Han":
            count["han"] += len(word.text)
        elif word.script == "Latin" and word.text not in excluded:
            count["latin"] += 1
    return count


@functools.lru_cache(maxsize=4096)
def _script(word: str) -> str:
    if word.isascii():
        return "Latin"
    return next((script for script, pattern in _PURE.items() if pattern.fullmatch(word)), "other")


def _on_digit(text: str, start: int, end: int) -> bool:
    return not _DIGITS.isdisjoint(text[max(start - 1, 0) : start] + text[end : end + 1])


def _is_symbol(word: Word) -> bool:
    return word.script == "other" or (len(word.text) <= 4 and not word.text[1:].islower())


def _regions(text: str) -> list[tuple[int, int]]:
    """Where code and formulas stand, delimiters included. One that is never closed is none.

    A dollar opens a formula where no blank follows, and closes it on the same line where none precedes and no digit
    follows: "$18 and $5" are currencies.
    """
    marks = list(_DELIMITER.finditer(text))
    places = defaultdict(list)
    for index, mark in enumerate(marks):
        places[mark[0]].append(index)
    regions, index = [], 0
    while index < len(marks):
        mark = marks[index]
        later = places.get(_CLOSES.get(mark[0]) or mark[0].replace("\\begin", "\\end"), [])
        place = bisect.bisect_right(later, index)
        index += 1
        if not mark["opens"] or place == len(later):
            continue
        start, end = mark.start(), marks[later[place]].end()
        if mark[0] in ("$", "`"):
            inside = text[start + 1 : end - 1]
            blank = mark[0] == "$" and inside.strip() != inside
            if blank or "\n" in inside or (mark[0] == "$" and text[end : end + 1].isdigit()):
                continue
        regions.append((start, end))
        index = later[place] + 1
    return regions
