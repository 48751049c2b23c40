r"""Plain numbers: read exactly, in the many ways in which they are written, and compared. No sympy here."""

import functools
import re
from fractions import Fraction
from typing import NamedTuple

_MAX_LENGTH = 400


class Number(NamedTuple):
    """A plain number.

    Attributes:
        value: what it is worth, exactly as written.
        places: the decimal places it is written with, where it has six significant digits or more; else None.
        dimension: the exponent at its unit, as in cm^2; "": none.
    """

    value: Fraction
    places: int | None = None
    dimension: str = ""


# Possessive (++), so that no text makes the search go back over what it has read.
_INTEGER = r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d{1,3}(?:\ \d{3})++(?!\d)|\d++)"
_FRACTION = rf"\\frac\s*\{{\s*([-+]?{_INTEGER})\s*\}}\s*\{{\s*([-+]?{_INTEGER})\s*\}}"
_NUMBER = re.compile(rf"""
    (?:\(?[A-J]\)[.:]?\s+|\(?[A-J][.:]\s+|\\text\{{\s*\([A-J]\)\s*\}}\s*)?    # the label of a choice
    (?P<sign>[-+]?)\s*[$€£¥₹]?\s*(?P<inner>[-+]?)\s*
    (?:(?P<whole>{_INTEGER})?\s*{_FRACTION}
      |(?:(?P<units>\d++)\s+)?(?P<over>{_INTEGER})\s*/\s*(?P<under>{_INTEGER})
      |(?P<decimal>(?:{_INTEGER}(?:\.\d*+)?|\.\d++))
       (?:\\overline\s*\{{(?P<repeating>\d++)\}}
         |\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{{\s*)?(?P<power>[-+]?\d{{1,3}})\s*\}}?
         |[eE](?P<e>[-+]?\d{{1,3}}))?)
    (?P<percent>\s*(?:%|(?:\\text\s*\{{\s*)?(?:percent|pct)\b\s*\}}?))?
    """, re.VERBOSE | re.ASCII)  # fmt: skip
_UNIT = re.compile(
    r"\s*(?:\\text\s*\{([A-Za-z°$%.,/ '-]*)\}|(?<![A-Za-z])([A-Za-z]+)|\^\\circ|[$€£¥₹])(?:\s*\^\s*\{?-?[1-4]\}?)?"
    r"\s*(?:[./-]|\\cdot(?![A-Za-z]))?"
)
_SHORT_UNITS = frozenset(re.findall(r"\S+", """
    m g s h l L W J N V A K C F in ft cm mm km dm nm kg mg gm ml mL lb lbs oz hr yd mi Hz kW Pa sq cu cc rs st nd rd th
    mph kph kmh min sec a of an is at on by per
    """))  # fmt: skip
# Words that change a number's value or set another one beside it, and names of functions.
COUNTING = frozenset(re.findall(r"\S+", """
    hundred hundreds thousand thousands million millions billion billions trillion trillions dozen dozens score k half
    halves third thirds fourth fourths fifth fifths sixth tenth tenths hundredth hundredths thousandths and or nor to
    plus minus times over mod modulo not no factorial base percent percents pct squared cubed versus vs either neither
    between through other otherwise a.m p.m am pm sqrt sin cos tan cot sec csc log exp gcd lcm max det lim sum
    """))  # fmt: skip


@functools.lru_cache(maxsize=4096)
def number(text: str) -> Number | None:
    r"""Reads a plain number, exactly; None where the text is anything else.

    Plain are integers, decimals (also repeating ones, `0.\overline{3}`), fractions and mixed numbers of integers,
    scientific notation and percentages, with a currency before or a unit behind that does no arithmetic. A fraction
    that is worth an integer is a division still to be done, and no plain number.

    Args:
        text: tidied (`notation.tidy`).
    """
    match = _NUMBER.match(_unwrapped(text)) if len(text) <= _MAX_LENGTH else None
    if not match or (match["sign"] and match["inner"]) or not _is_unit(unit := match.string[match.end() :]):
        return None
    value, places = _value(match)
    if value is None:
        return None
    if match["percent"]:
        value, places = value / 100, places and places + 2
    return Number(-value if "-" in (match["sign"], match["inner"]) else value, places, _dimension(unit))


def same(a: Number, b: Number) -> bool:
    """Whether two numbers are equal: exactly, or one is the other rounded to six significant digits or more.

    Units are not compared, but 15 cm^2 is not 15 cm^3.
    """
    if a.dimension and b.dimension and a.dimension != b.dimension:
        return False
    return a.value == b.value or _rounds_to(a, b) or _rounds_to(b, a)


def _rounds_to(a: Number, b: Number) -> bool:
    """Whether b is the endless decimal a cut to b's places."""
    return b.places is not None and not _is_finite(a.value) and round(a.value, b.places) == b.value


def rounded(exact: str, decimal: str) -> bool:
    """Whether a decimal is another number rounded to the places that the decimal shows, however few."""
    value, shown = number(exact), number(decimal)
    places = len(decimal.partition(".")[2].rstrip(" %")) + 2 * ("%" in decimal)
    return value is not None and shown is not None and round(value.value, places) == shown.value


def is_harmless(words: str) -> bool:
    """Whether words beside a formula can be left out: they hold no digits, do no arithmetic and name nothing else."""
    return not re.search(r"\d", words) and not any(word.strip(".,:") in COUNTING for word in words.lower().split())


def _unwrapped(text: str) -> str:
    r"""Without brackets, dollars or \text around the whole; (1,234) may be a pair, and stays."""
    text = text.strip()
    for opening, closing in (("$", "$"), (r"\(", r"\)"), (r"\text{", "}"), ("(", ")"), (r"\{", r"\}"), ("{", "}")):
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening):
            inner = text[len(opening) : len(text) - len(closing)]
            pair = "," in inner and opening[0] in "({"
            if opening not in inner and closing not in inner and not pair:
                text = inner.strip()
    return text


def _integer(text: str) -> int:
    return int(text.replace(",", "").replace(" ", ""))


def _value(match: re.Match[str]) -> tuple[Fraction | None, int | None]:
    """The absolute value of a match of _NUMBER, and its decimal places where they are many enough to be rounded to."""
    over, under = (match["over"], match["under"]) if match["over"] else match.groups()[3:5]
    if over:
        return _quotient(_integer(over), _integer(under), match["whole"] or match["units"]), None
    head, _, decimals = match["decimal"].replace(",", "").replace(" ", "").partition(".")
    value = Fraction(int(head + decimals), 10 ** len(decimals))
    if repeating := match["repeating"]:
        tail = Fraction(int(repeating), 10 ** len(decimals) * (10 ** len(repeating) - 1))
        return (value + tail if "." in match["decimal"] else None), None
    exponent = match["power"] or match["e"]
    many = decimals and not exponent and len((head + decimals).lstrip("0")) >= 6
    return value * Fraction(10) ** int(exponent or 0), len(decimals) if many else None


def _quotient(over: int, under: int, whole: str | None) -> Fraction | None:
    """A fraction or mixed number; None where it is none, or still to be divided."""
    if under == 0 or (over and over % under == 0):
        return None
    fraction = Fraction(over, under)
    if not whole:
        return fraction
    return _integer(whole) + fraction if 0 < over < under else None


def _is_finite(value: Fraction) -> bool:
    """Whether a fraction has a decimal that ends."""
    denominator = value.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1


def _is_unit(text: str) -> bool:
    """Whether nothing but a unit, or words that do no arithmetic, stands behind a number."""
    text = text.rstrip(" .,;")
    position = 0
    while position < len(text):
        match = _UNIT.match(text, position)
        if not match:
            return False
        for word in (match[1] or match[2] or "").split():
            word = word.strip(".,").lower()
            if word in COUNTING and not (position and word in ("squared", "cubed")):
                return False
        bare, glued = match[2], position == 0 and not text[0].isspace()
        if bare and bare not in _SHORT_UNITS and len(bare) < (4 if glued else 3):
            return False
        position = match.end()
    return True


def _dimension(unit: str) -> str:
    return "".join(re.findall(r"-?\d", unit))
