r"""Plain numbers: parsing in many notations, exact values, units, and comparison."""

import functools
import math
import re
from fractions import Fraction
from typing import NamedTuple

from r1jax.graders.math.words_and_units import AMBIGUOUS, UNITS, is_unit_phrase, is_word, unit_name

_MAX_LENGTH = 400


class Number(NamedTuple):
    """A plain number.

    Attributes:
        value: its exact value.
        places: its decimal places, where it has six significant digits or more; else None.
        unit: its unit of measure in one spelling, as m^1 s^-2; "": none, or the name of counted things.
    """

    value: Fraction
    places: int | None = None
    unit: str = ""


# Possessive (++), so that no text causes backtracking.
_INTEGER = r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d{1,3}(?:\ \d{3})++(?!\d)|\d++)"
_FRACTION = rf"\\frac\s*\{{\s*([-+]?{_INTEGER})\s*\}}\s*\{{\s*([-+]?{_INTEGER})\s*\}}"
_NUMBER = re.compile(
    rf"""
    (?:\(?[A-J]\)[.:]?\s+|\(?[A-J][.:]\s+|\\text\{{\s*\([A-J]\)\s*\}}\s*)?    # the label of a choice
    (?P<sign>[-+]?)\s*[$€£¥₹＄]?\s*(?P<inner>[-+]?)\s*
    (?:(?P<whole>{_INTEGER})?\s*{_FRACTION}
      |(?:(?P<units>\d++)\s+)?(?P<over>{_INTEGER})\s*/\s*(?P<under>{_INTEGER})
      |10\s*\^\s*(?:\{{\s*(?P<ten>[-+]?\d{{1,3}})\s*\}}|(?P<tens>[-+]?\d{{1,3}}))
      |(?P<decimal>(?:{_INTEGER}(?:\.\d*+)?|\.\d++))
       (?:\\overline\s*\{{(?P<repeating>\d++)\}}
         |\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{{\s*)?(?P<power>[-+]?\d{{1,3}})\s*\}}?
         |[eE](?P<e>[-+]?\d{{1,3}}))?)
    (?P<scale>\s*(?:\\text\s*\{{\s*)?(?:(?:hundred|thousand|million|billion|trillion|dozen)s?\b|[百千万亿]+)(?:\s*\}})?)?
    (?P<percent>\s*(?:%|(?:\\text\s*\{{\s*)?(?:per\s?cent|pct)\b\s*\}}?))?
    """,
    re.VERBOSE | re.ASCII,
)
_SIGN_IN_BRACKETS = [
    (re.compile(r"^-?\s*\(\s*(-?)\s*(\\frac\s*\{\d+\}\s*\{\d+\}|[\d.]+)\s*\)$"), r"\1\2"),
    (re.compile(r"^\(\s*-\s*(\d+)\s*\)\s*/\s*(\d+)$|^(\d+)\s*/\s*\(\s*-\s*(\d+)\s*\)$"), r"-\1\3/\2\4"),
]
_SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "百": 100,
    "千": 1000,
    "万": 10**4,
    "亿": 10**8,
}
_CARDINALS = re.findall(
    r"\w+",
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty
    """,
)
_ORDINALS = re.findall(
    r"\w+",
    """
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
    sixteenth seventeenth eighteenth nineteenth twentieth
    """,
)
_WORD_NUMBERS = {word: value for value, word in enumerate(_CARDINALS)} | {
    word: f"{value}th" for value, word in enumerate(_ORDINALS, 1)
}
_CHINESE_DIGITS = "〇一二三四五六七八九十"
_CHINESE_FRACTION = re.compile(r"([一二三四五六七八九十])分之([一二三四五六七八九十])")
_IN_BRACKETS = re.compile(r"^\((\\frac\s*\{[^{}]*\}\s*\{[^{}]*\}|[\d.]+)\)(\s*\^\\circ.*)$", re.DOTALL)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_MEASURE = r"(?:\\text\s*\{[^{}]*\}|\\(?:mu|Omega)(?![A-Za-z])|[A-Za-z]+|\s|\^\s*\{?-?[1-4]\}?)"
_UNIT = re.compile(
    rf"\s*(?:\\text\s*\{{(?P<text>[^{{}}]*)\}}|\\mu(?=\s*\\text)|(?P<symbol>\\(?:mu|Omega)(?![A-Za-z]))"
    rf"|(?P<word>(?<![A-Za-z\\])[A-Za-z]+)|\^\\circ|[$€£¥₹＄¢]|(?P<chinese>[\u4e00-\u9fff]{{1,8}})"
    rf"|\\frac\s*\{{(?P<over>{_MEASURE}+)\}}\s*\{{(?P<under>{_MEASURE}+)\}})"
    r"(?:\s*\^\s*\{?-?[1-4]\}?)?\s*(?:[./-]|\\cdot(?![A-Za-z]))?"
)


@functools.lru_cache(maxsize=4096)
def number(text: str, symbols: bool = False) -> Number | None:
    r"""Parses a plain number, exactly; None where the text is anything else.

    Plain numbers are integers, decimals (also repeating ones, `0.\overline{3}`), fractions and mixed numbers of
    integers, scientific notation and percentages, with a currency before or a unit after them. A fraction whose value
    is an integer is an unevaluated division, and no plain number.

    Args:
        text: normalised (`notation.normalize`).
        symbols: whether a letter after the number may be a unit's symbol, `300 K`: for an answer to a reference that is
            a plain number. In a reference `m` is a variable, and only `\\text{m}` a unit.
    """
    if len(text) > _MAX_LENGTH:
        return None
    match = _NUMBER.match(_to_digits(_without_wrapping(text)))
    if not match or (match["sign"] and match["inner"]) or not _is_unit(unit := match.string[match.end() :], symbols):
        return None
    value, places = _value(match)
    if value is None:
        return None
    if match["percent"]:
        value, places = value / 100, places and places + 2
    if match["scale"]:
        value, places = value * _scale_factor(match["scale"]), None
    return Number(-value if "-" in (match["sign"], match["inner"]) else value, places, _unit_name(match, unit))


def same_number(a: Number, b: Number) -> bool:
    """Whether two numbers are equal: exactly, or one is the other rounded to six significant digits or more.

    A unit may be left out; two units must agree: 15 cm^2 is neither 15 cm^3 nor 15 m^2.
    """
    if a.unit and b.unit and a.unit != b.unit:
        return False
    return a.value == b.value or _is_rounded_from(a, b) or _is_rounded_from(b, a)


def _is_rounded_from(a: Number, b: Number) -> bool:
    """Whether b is a, which has no finite decimal, rounded to b's places."""
    return b.places is not None and not _is_finite(a.value) and round(a.value, b.places) == b.value


def places(decimal: str) -> int:
    """The decimal places of a number as written; two more for a percentage."""
    digits = re.match(r"[^.]*\.(\d*)", decimal)
    return (len(digits[1]) if digits else 0) + 2 * ("%" in decimal)


def _without_wrapping(text: str) -> str:
    r"""A text without brackets, dollars or \text around all of it; (1,234) may be a pair, and stays."""
    text = text.strip()
    for opening, closing in (("$", "$"), (r"\(", r"\)"), (r"\text{", "}"), ("(", ")"), (r"\{", r"\}"), ("{", "}")):
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening):
            inner = text[len(opening) : len(text) - len(closing)]
            pair = "," in inner and opening[0] in "({"
            if opening not in inner and closing not in inner and not pair:
                text = inner.strip()
    return text


def _to_digits(text: str) -> str:
    """A number in words as digits: six, sixth, 六分之一; and a fraction without its brackets."""
    value_of_word = _WORD_NUMBERS.get(text.lower().replace("-", " "))
    if value_of_word is not None:
        return str(value_of_word)
    if fraction := _CHINESE_FRACTION.fullmatch(text):
        under, over = (_CHINESE_DIGITS.index(fraction[part]) for part in (1, 2))
        return rf"\frac{{{over}}}{{{under}}}"
    bracketed_fraction = _SIGN_IN_BRACKETS[0][0].match(text)
    if bracketed_fraction and text[0] == "-" and not bracketed_fraction[1]:
        return f"-{bracketed_fraction[2]}"
    return _IN_BRACKETS.sub(r"\1\2", _SIGN_IN_BRACKETS[1][0].sub(_SIGN_IN_BRACKETS[1][1], text))


def _scale_factor(words: str) -> int:
    """The factor of a word such as thousand or 万."""
    word = re.sub(r"\\text|[\s{}]", "", words).removesuffix("s")
    return _SCALES[word] if word in _SCALES else math.prod(_SCALES[character] for character in word)


def _integer(text: str) -> int:
    return int(text.replace(",", "").replace(" ", ""))


def _value(match: re.Match[str]) -> tuple[Fraction | None, int | None]:
    """The absolute value of a match of _NUMBER, and its decimal places where it has enough digits to be rounded to."""
    over, under = (match["over"], match["under"]) if match["over"] else match.groups()[3:5]
    if over:
        return _quotient(_integer(over), _integer(under), match["whole"] or match["units"]), None
    if match["decimal"] is None:
        return Fraction(10) ** int(match["ten"] or match["tens"]), None
    head, _, decimals = match["decimal"].replace(",", "").replace(" ", "").partition(".")
    value = Fraction(int(head + decimals), 10 ** len(decimals))
    if repeating := match["repeating"]:
        tail = Fraction(int(repeating), 10 ** len(decimals) * (10 ** len(repeating) - 1))
        return (value + tail if "." in match["decimal"] else None), None
    exponent = match["power"] or match["e"]
    is_roundable = decimals and not exponent and len((head + decimals).lstrip("0")) >= 6
    return value * Fraction(10) ** int(exponent or 0), len(decimals) if is_roundable else None


def _quotient(over: int, under: int, whole: str | None) -> Fraction | None:
    """The value of a fraction or mixed number; None where it is none, or an unevaluated division."""
    if under == 0 or (over and over % under == 0):
        return None
    fraction = Fraction(over, under)
    if not whole:
        return fraction
    return _integer(whole) + fraction if 0 < over < under else None


def _is_finite(value: Fraction) -> bool:
    """Whether a fraction has a finite decimal."""
    denominator = value.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1


def _is_unit(text: str, symbols: bool) -> bool:
    """Whether the text after a number is only a unit, or words that do not change the number."""
    text = text.rstrip(" .,;")
    if not is_unit_phrase(" ".join(words for words in re.split(r"[^A-Za-z.']+", _TEXT.sub(r" \1 ", text)) if words)):
        return False
    position = 0
    while position < len(text):
        match = _UNIT.match(text, position)
        if not match or (match["symbol"] and not symbols):
            return False
        if not is_unit_phrase(match["text"] or match["chinese"] or ""):
            return False
        is_adjacent = position == 0 and not text[0].isspace()
        if match["word"] and not _is_unit_word(text, match.start("word"), match.end("word"), is_adjacent, symbols):
            return False
        if match["over"] and not all(_is_measure(match[part], symbols) for part in ("over", "under")):
            return False
        position = match.end()
    return True


def _is_unit_word(text: str, start: int, end: int, is_adjacent: bool, symbols: bool) -> bool:
    """Whether letters outside of `\\text` are a unit or the name of counted things."""
    word = text[start:end]
    if len(word) == 1:
        is_per_phrase = word == "a" and re.match(r"\s+[A-Za-z]{2}", text[end:])  # 5 a day
        return bool(is_per_phrase) or (word in UNITS and (symbols or text[:start].rstrip().endswith(("/", "}", "."))))
    if word in AMBIGUOUS:
        return symbols
    if word in ("of", "in", "on", "an", "by", "at") and re.match(r"\s+[A-Za-z]{2}", text[end:]):
        return True
    return word in UNITS or (len(word) >= (4 if is_adjacent else 3) and is_word(text, start, end))


def _is_measure(text: str, symbols: bool) -> bool:
    """Whether one side of a fraction after a number is a unit."""
    words = re.findall(r"[A-Za-z]+", re.sub(r"\\(?:text|mu|Omega)", " ", text))
    return all(word in UNITS for word in words) and (symbols or r"\text" in text)


def _unit_name(match: re.Match[str], unit_text: str) -> str:
    """The name of the unit after a number, or of the currency before it."""
    unit_text = _TEXT.sub(r" \1 ", unit_text.replace(r"^\circ", " ° ")).strip(" .,;")
    fraction = re.fullmatch(r"\s*\\frac\s*\{(.*?)\}\s*\{(.*?)\}\s*", unit_text)
    unit_text = f"{fraction[1]}/{fraction[2]}" if fraction else unit_text
    currency = next((sign for sign in "$＄€£¥₹" if sign in match[0]), "")
    return unit_name(unit_text) or unit_name(currency)
