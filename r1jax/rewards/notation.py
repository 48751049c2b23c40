r"""How mathematics is written: one spelling for many, lists taken apart, words and choices read. No sympy here.

What a policy writes may be anything, so every function takes a time linear in its text.
"""

import re
from typing import NamedTuple

MAX_FORMULA = 400  # characters; the longest reference of the sets measured has 159
_MAX_DEPTH = 12  # of brackets in brackets, bars included; the parser's time grows exponentially with it
_MAX_EXPONENT = 10_000

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True))
# Not Unicode's own NFKC, which makes 42 of 4².
_CHARACTERS = {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)} | {
    "−": "-", "–": "-", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
    "≈": r"\approx ", "≡": r"\equiv ", "±": r"\pm ", "∈": r"\in ", "∪": r"\cup ", "∞": r"\infty ", "∨": r"\vee ",
    "π": r"\pi ", "θ": r"\theta ", "√": r"\sqrt ", "°": r"^\circ ", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}", "。": ".", "、": ",", "’": "'", "\u3000": " ", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
}  # fmt: skip
_INVISIBLE = (0xAD, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065))
_TRANSLATION = str.maketrans(_CHARACTERS | dict.fromkeys(map(chr, _INVISIBLE), ""))
_SUPERSCRIPT = re.compile(f"[{''.join(_RAISED)}]+")
_SPELLINGS = [(re.compile(pattern), spelling) for pattern, spelling in [
    (r"\\operatorname\*?\s*\{([A-Za-z]{1,20})\}", r"\\\1 "),
    (r"\\math(?:rm|bf|it|sf)\s*\{\s*([A-Za-z])\s*\}", r"\1"),
    (r"\\(?:text[a-z]{2,6}|mbox|math(?:rm|bf|it|sf))\s*\{", r"\\text{"),
    (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
    (r"\\(?:left|right)\s*\.|\\(?:left|right|[Bb]igg?[lr]?|displaystyle|limits)(?![A-Za-z])", ""),
    (r"(?<=\d)(?:,\s*\\!|\{,\})\s*(?=\d{3})", ","),
    (r"\\!|\\phantom\s*(?:\{\s*[-+]?\s*\}|[-+])", ""),
    (r"(?<!\\)\\[,;: ]|\\q?quad(?![A-Za-z])|~", " "),
    (r"(?<!\\)\\\$", ""),  # a currency, never a delimiter
    (r"(?<!\\)\\([%&#])", r"\1"),
    (r"\\([gln])eq?(?:slant)?(?![A-Za-z])", r"\\\1e "),
    (r"\\[lr]vert(?![A-Za-z])", "|"),
    (r"\\lbrace(?![A-Za-z])", r"\\{"),
    (r"\\rbrace(?![A-Za-z])", r"\\}"),
    (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])|\\degrees?(?![A-Za-z])", r"^\\circ "),
    (r"\\frac\s*(\d|(?<=\s)[A-Za-z]|\\pi(?![A-Za-z]))", r"\\frac{\1}"),
    (r"(\\frac\s*\{[^{}]{0,99}\})\s*(\d|[A-Za-z]|\\pi(?![A-Za-z]))", r"\1{\2}"),
    (r"(?<![\\A-Za-z])(?:(sqrt|sin|cos|tan|ln|log)(?=\s*[({])|(pi)(?![A-Za-z]))", r"\\\1\2 "),
    (r"\\sqrt\s*\(([^()]{1,99})\)", r"\\sqrt{\1}"),
    (r"(?<![\w)}*])\*\*(?![\s*])([^*\n]{1,200})\*\*(?![\w({*])", r"\1"),
]]  # fmt: skip
_NOTHING_TO_SPELL = re.compile(r"[\w ,.:'-]*", re.ASCII)
_ONLY_TEXT = re.compile(r"\s*\\text\{([^{}]*)\}\s*")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")


def tidy(text: str) -> str:
    r"""The same mathematics in plainer spelling: no \left, \dfrac or \!, ASCII, one `\text` for all its kin.

    White space and line breaks stay. Invisible characters go, so that none can hide a digit.
    """
    if not text.isascii():
        text = _SUPERSCRIPT.sub(lambda raised: "^{" + "".join(map(_RAISED.get, raised[0])) + "}", text)
        text = text.translate(_TRANSLATION)
    if not _NOTHING_TO_SPELL.fullmatch(text) or "pi" in text:
        for pattern, spelling in _SPELLINGS:
            text = pattern.sub(spelling, text)
        if whole := _ONLY_TEXT.fullmatch(text):
            text = whole[1]
    return text.strip()


def compact(text: str) -> str:
    """Without white space."""
    return "".join(text.split())


_LEVELS = re.compile(r"[({\[]|[)}\]]|\|")
_POWER = re.compile(r"(?:\^|\*\*)[\s{(-]*(\d+)[\s})]*(?:(?:\^|\*\*|!)[\s{(-]*(\d*))?")
_TOWER = re.compile(
    r"(?:(?:\^|\*\*)[\s{(-]*\w+\s*){3}|!\s*!|\d{5}[\s})]*!|binom\s*\{[^{}]*(?:\d{5}|\}\s*\{[^{}]*\d{5})"
)


def too_complex(formula: str) -> bool:
    """Whether a formula is refused unread: too long, too deep, or with exponents, towers or factorials out of reach."""
    if len(formula) > MAX_FORMULA or _TOWER.search(formula):
        return True
    depth = deepest = 0
    for level in _LEVELS.findall(formula):
        depth += -1 if level in ")}]" else 1
        deepest = max(deepest, depth)
    return deepest > _MAX_DEPTH or any(_is_huge(*match) for match in _POWER.findall(formula))


def _is_huge(exponent: str, upper: str) -> bool:
    if max(len(exponent), len(upper)) > 5:
        return True
    return int(exponent) ** min(int(upper or "1"), 20) > _MAX_EXPONENT


class Parts(NamedTuple):
    r"""A list taken apart.

    Attributes:
        opening: "" for a bare list, `(`, `[`, `\{`, `\cup` for a union, or `matrix` and the number of its columns.
        closing: the bracket behind it, else "".
        elements: two or more; one where it stands in braces.
    """

    opening: str
    closing: str
    elements: tuple[str, ...]


_BRACKET = re.compile(r"\\[{}]|[(){}\[\]]")
_AND_OR = (
    r"\s*[,;]?\s*(?:\\text\s*\{\s*[,;]?\s*(?:and|or)\s*[,;]?\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])"
    r"|\\(?:vee|lor|land|wedge)(?![A-Za-z]))\s*|\\text\s*\{\s*[,;]\s*\}"
)
_SEPARATOR = re.compile(_AND_OR + "|[,;]")
_BARE_SEPARATOR = re.compile(_AND_OR + r"|;|(?<!\d),|,(?!\d{3}(?!\d))")  # 10,000 is one number
_PLUS_MINUS = re.compile(r"\\pm(?![A-Za-z])")
_UNION = re.compile(r"\\cup(?![A-Za-z])")
_EQUALS = re.compile(r"(?<![<>!:=])=(?!=)|\\(?:approx|simeq|in)(?![A-Za-z])")
_APPROXIMATELY = re.compile(r"\\(?:approx|simeq)(?![A-Za-z])")
_MATRIX = re.compile(r"\\begin\s*\{[bpB]?(?:small)?matrix\}(.*)\\end\s*\{[bpB]?(?:small)?matrix\}", re.DOTALL)
_ROWS = re.compile(r"\\\\(?:\[[^\]]{0,9}\])?|\\cr(?![A-Za-z])")


def parts(text: str) -> Parts | None:
    r"""Takes apart a list, tuple, interval, set, union of such, or matrix; None where it is none of them.

    `1 \pm \sqrt{2}` is a list of two.

    Args:
        text: tidied.
    """
    matrix = _MATRIX.fullmatch(text)
    if matrix and r"\begin" not in matrix[1]:
        rows = [[cell.strip() for cell in row.split("&")] for row in _ROWS.split(matrix[1]) if row.strip()]
        columns = len(rows[0]) if rows else 0
        even = columns and all(len(row) == columns for row in rows)
        return Parts(f"matrix {columns}", "", tuple(cell for row in rows for cell in row)) if even else None
    union = _split(text, _UNION)
    if len(union) > 1:
        return Parts(r"\cup", "", tuple(union))
    opening, inner, closing = _bracketed(text)
    elements = _split(inner, _SEPARATOR if opening else _BARE_SEPARATOR)
    elements = [version for element in elements if element for version in _both_signs(element)]
    listed = len(elements) > 1 or (elements and opening == r"\{")
    return Parts(opening, closing, tuple(elements)) if listed else None


def sides(text: str) -> list[str]:
    r"""The sides of an equation, an approximation or `x \in ...`, at least one."""
    return _split(text, _EQUALS)


def approximations(text: str) -> list[str]:
    r"""What stands on either side of \approx, at least one."""
    return _split(text, _APPROXIMATELY)


def _split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Cuts a formula at each separator that stands outside all brackets."""
    pieces, start, depth = [], 0, 0
    brackets = [*_BRACKET.finditer(text), None]
    position = 0
    for found in separator.finditer(text):
        while (bracket := brackets[position]) and bracket.start() < found.start():
            depth += 1 if bracket[0][-1] in "([{" else -1
            position += 1
        if depth == 0:
            pieces.append(text[start : found.start()])
            start = found.end()
    return [piece.strip() for piece in (*pieces, text[start:])]


def _both_signs(text: str) -> tuple[str, ...]:
    upper, lower = _PLUS_MINUS.sub("+", text), _PLUS_MINUS.sub("-", text)
    if upper == lower:
        return (text,)
    return tuple(re.sub(r"\\mp(?![A-Za-z])", sign, version) for version, sign in ((upper, "-"), (lower, "+")))


def _bracketed(text: str) -> tuple[str, str, str]:
    """The brackets around the whole of a text, and what is in them; "" where there are none."""
    brackets = list(_BRACKET.finditer(text))
    if not brackets or brackets[0].start() > 0 or brackets[-1].end() < len(text):
        return "", text, ""
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket[0][-1] in "([{" else -1
        if depth == 0 and bracket is not brackets[-1]:
            return "", text, ""
    if depth:
        return "", text, ""
    opening, closing = (rf"\{b}" if b in "{}" else b for b in (brackets[0][0], brackets[-1][0]))
    return opening, text[brackets[0].end() : brackets[-1].start()], closing


NAME = r"(?:[A-Z]{1,3}|[A-Za-z]|\\[A-Za-z]+)(?:_(?:\w|\{\w+\}))?'*(?:\s*\(\s*[a-z]\s*\))?"
_NAMED = re.compile(rf"({NAME})\s*(?:=(?!=)|\\(?:in|approx|simeq)(?![A-Za-z]))\s*(.+)", re.DOTALL)
_ORDER = re.compile(r"(<|>|\\[lg]e)(?![A-Za-z])")
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


def named(text: str) -> tuple[str, str]:
    r"""What a formula gives its value to, "" where to nothing, and the value: `x = 5`, `x \in (1,2)`, `f(x) = 2x`."""
    match = _NAMED.fullmatch(text)
    return (compact(match[1]), match[2].strip()) if match else ("", text)


def interval(text: str) -> str:
    r"""An inequality for one name as an interval, `1 < x \le 2` as (1, 2]; any other text as it is."""
    pieces = [piece.strip() for piece in _ORDER.split(text)]
    if len(pieces) == 3 and re.fullmatch(NAME, pieces[2]):
        pieces = [pieces[2], _FLIPPED[pieces[1]], pieces[0]]
    if len(pieces) == 3 and re.fullmatch(NAME, pieces[0]):
        order, bound = pieces[1:]
        pieces = [r"-\infty", "<", pieces[0], order, bound]
        if order in (">", r"\ge"):
            pieces = [bound, _FLIPPED[order], pieces[2], "<", r"\infty"]
    if len(pieces) != 5 or not re.fullmatch(NAME, pieces[2]):
        return text
    low, first, _, second, high = pieces
    if first in (">", r"\ge"):
        low, first, second, high = high, _FLIPPED[second], _FLIPPED[first], low
    if ">" in (first, second) or r"\ge" in (first, second):
        return text
    return f"{'(' if first == '<' else '['}{low}, {high}{')' if second == '<' else ']'}"


_CHOICE = re.compile(
    r"(?:(?:option|choice)\s+)?(?:\(([A-J])\)[.:]?|\[([A-J])\]|([A-J])[.:)](?=\s|$)|([A-J])$)"
    r"(?:\s+([\w$\\].*))?",
    re.DOTALL,
)
_OTHER_CHOICE = re.compile(r"(?:or|and)\b|[A-J]\b[.:)]|\([A-J]\)|[A-J]$")
_WORDS = re.compile(r"[^\W_]+(?:[:.'/-][^\W_]+)*|(?<!\w)-|[%+=<>^*\\|~#@]")
_LONG_WORD = re.compile(r"(?<!\\)\b(?:[^\W\d_]{3,}|no)\b|[\u4e00-\u9fff]")
_CLOCK = re.compile(r"\d+(?::\d+)+(?:\s*[ap]\.?\s?m\.?)?|\d+\s*[ap]\.?\s?m\.?", re.IGNORECASE)


def choice(text: str) -> str | None:
    """The letter of a multiple choice, A to J, that a text names and no other: `C`, `(C)`, `C. 42`; else None."""
    match = _CHOICE.fullmatch(_TEXT.sub(r"\1", text).strip("$ \n").rstrip(" .,"))
    if not match or (match[5] and _OTHER_CHOICE.search(match[5])):
        return None
    return match[1] or match[2] or match[3] or match[4]


def is_literal(text: str) -> bool:
    """Whether an answer is words, a time of day or a ratio, equal as text or not at all."""
    text = _TEXT.sub(r"\1", text).strip()
    if _CLOCK.fullmatch(text):
        return True
    words = [word for word in _LONG_WORD.findall(text) if word not in ("and", "or")]
    return bool(words) and not re.search(r"[=+^_<>*\\|]", text)


def literal(text: str) -> str:
    """A text's words, numbers and signs alone, in lower case, times of day in one spelling."""
    text = re.sub(r"(\d)\s*([ap])\.?\s?m\b\.?", r"\1 \2m", _TEXT.sub(r"\1", text).lower())
    words = _WORDS.findall(text)
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)
