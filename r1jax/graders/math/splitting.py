"""Formulas cut into pieces: at separators outside all brackets, out of their brackets, by each choice of signs."""

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
_TURNED = {"+": "-", "-": "+"}
SET_BUILDER = re.compile(r"\s*([A-Za-z](?:\s*\\in\s*(?:\\mathbb\{R\}|R))?)\s*(?:\||:)\s*(.+)", re.DOTALL)


def is_ambiguous(text: str) -> bool:
    """Whether a text may be one number with its thousands set off, or a list: 120,144."""
    return bool(_GROUPED.search(text))


def list_elements(text: str, grouped: bool) -> list[str]:
    """The elements of a bare list or of what stands in brackets; one where it is no list."""
    if not grouped:
        return [element for element in split(text, SEPARATOR) if element]
    hidden = _GROUPED.sub(lambda number: number[0].replace(",", "\0"), text)
    return [element.replace("\0", ",") for element in split(hidden, SEPARATOR) if element]


def both_signs_of_each(elements: Iterable[str]) -> Iterator[str]:
    r"""Elements with each \pm written out; in a tuple that holds some, `structure` does so."""
    for element in elements:
        yield from (element,) if bracketed(element)[0] in ("(", "[") else both_signs(element)


def both_signs(text: str) -> list[str]:
    r"""A text once for each choice of its signs: \pm and \mp go together, several \pm without a \mp do not."""
    signs = _SIGNS.findall(text)
    if not signs or len(signs) > 4:
        return [text]
    together = r"\mp" in signs
    texts = []
    for choice in itertools.product("+-", repeat=1 if together else len(signs)):
        chosen = iter(choice * len(signs) if together else choice)
        written = _SIGNS.sub(lambda s, c=chosen: next(c) if s[0] == r"\pm" else _TURNED[next(c)], text)
        texts.append(re.sub(r"^(\s*(?:[^=]*=)?\s*)\+", r"\1", re.sub(r"([(\[,]\s*)\+", r"\1", written)))
    return list(dict.fromkeys(texts))


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Cuts a formula at each separator that stands outside all brackets."""
    pieces, start, depth = [], 0, 0
    brackets = [*BRACKET.finditer(text), None]
    position = 0
    for found in separator.finditer(text):
        while (bracket := brackets[position]) and bracket.start() < found.start():
            depth += 1 if bracket[0][-1] in "([{" else -1
            position += 1
        if depth == 0:
            pieces.append(text[start : found.start()])
            start = found.end()
    return [piece.strip() for piece in (*pieces, text[start:])]


def _split_at_all(inner: str) -> bool:
    """Whether plain braces hold a set, {1, 2} or {x : x > 2}, and do not only group."""
    return len(split(inner, SEPARATOR)) > 1 or bool(SET_BUILDER.fullmatch(inner))


def bracketed(text: str) -> tuple[str, str, str]:
    """The brackets around the whole of a text, and what is in them; "" where there are none."""
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
    if brackets[0][0] == "{" and not _split_at_all(text[1:-1]):  # braces that only group
        return "", text, ""
    return opening, text[brackets[0].end() : brackets[-1].start()], closing
