"""Splitting of formulas: at separators outside brackets, at their outer brackets, and by signs of plus-minus."""

import itertools
import re
from collections.abc import Iterable, Iterator

BRACKET = re.compile(r"\\[{}]|[(){}\[\]]")
_AND_OR = (
    r"\s*[,;]?\s*(?:\\text\s*\{\s*[,;]?\s*(?:and|or)\s*[,;]?\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])"
    r"|\\(?:vee|wedge|land)(?![A-Za-z])|[和与及或])\s*|\s*\\text\s*\{\s*[,;]\s*\}\s*"
)
SEPARATOR = re.compile(_AND_OR + "|[,;]")
_GROUPED = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,]*\d)")
_SIGNS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])")
_OPPOSITE_SIGN = {"+": "-", "-": "+"}
SET_BUILDER = re.compile(r"\s*([A-Za-z](?:\s*\\in\s*(?:\\mathbb\{R\}|R))?)\s*(?:\||:)\s*(.+)", re.DOTALL)


def may_be_list_or_number(text: str) -> bool:
    """Whether a text may be one number with a thousands separator, or a list: 120,144."""
    return bool(_GROUPED.search(text))


def list_elements(text: str, thousands_grouped: bool) -> list[str]:
    """The elements of a list without its brackets; one where it is no list.

    Args:
        thousands_grouped: whether commas between groups of three digits are thousands separators.
    """
    if not thousands_grouped:
        return [element for element in split_outside_brackets(text, SEPARATOR) if element]
    without_grouping = _GROUPED.sub(lambda number: number[0].replace(",", "\0"), text)
    return [element.replace("\0", ",") for element in split_outside_brackets(without_grouping, SEPARATOR) if element]


def expand_signs_of_each(elements: Iterable[str]) -> Iterator[str]:
    r"""Elements with each \pm expanded, except in tuples, where `formula_structure.structure` expands them."""
    for element in elements:
        yield from (element,) if outer_brackets(element)[0] in ("(", "[") else expand_signs(element)


def expand_signs(text: str) -> list[str]:
    r"""The texts for each choice of signs: \pm and \mp depend on each other, several \pm without a \mp do not."""
    signs = _SIGNS.findall(text)
    if not signs or len(signs) > 4:
        return [text]
    together = r"\mp" in signs
    texts = []
    for choice in itertools.product("+-", repeat=1 if together else len(signs)):
        chosen = iter(choice * len(signs) if together else choice)
        expanded = _SIGNS.sub(lambda s, c=chosen: next(c) if s[0] == r"\pm" else _OPPOSITE_SIGN[next(c)], text)
        texts.append(re.sub(r"^(\s*(?:[^=]*=)?\s*)\+", r"\1", re.sub(r"([(\[,]\s*)\+", r"\1", expanded)))
    return list(dict.fromkeys(texts))


def split_outside_brackets(text: str, separator: re.Pattern[str]) -> list[str]:
    """The pieces of a formula between the separators that are outside all brackets."""
    pieces, start, depth = [], 0, 0
    brackets = [*BRACKET.finditer(text), None]
    position = 0
    for match in separator.finditer(text):
        while (bracket := brackets[position]) and bracket.start() < match.start():
            depth += 1 if bracket[0][-1] in "([{" else -1
            position += 1
        if depth == 0:
            pieces.append(text[start : match.start()])
            start = match.end()
    return [piece.strip() for piece in (*pieces, text[start:])]


def _is_set(inner: str) -> bool:
    """Whether plain braces enclose a set, {1, 2} or {x : x > 2}, and do not only group."""
    return len(split_outside_brackets(inner, SEPARATOR)) > 1 or bool(SET_BUILDER.fullmatch(inner))


def outer_brackets(text: str) -> tuple[str, str, str]:
    """(opening bracket, content, closing bracket) of a text that brackets enclose; brackets of "" where none do."""
    brackets = list(BRACKET.finditer(text))
    if not brackets or brackets[0].start() > 0 or brackets[-1].end() < len(text):
        return "", text, ""
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket[0][-1] in "([{" else -1
        if depth == 0 and bracket is not brackets[-1]:
            return "", text, ""
    if depth:
        return "", text, ""
    opening, closing = (rf"\{b}" if b in "{}" else b for b in (brackets[0][0][-1], brackets[-1][0][-1]))
    if brackets[0][0] == "{" and not _is_set(text[1:-1]):  # braces that only group
        return "", text, ""
    return opening, text[brackets[0].end() : brackets[-1].start()], closing
