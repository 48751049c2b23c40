r"""What a formula is surrounded by: delimiters, words that lead up to it, and conditions behind it.

`The maximum is $5$, attained at $x=2$` states 5 under a condition; `k\pi, k \in \mathbb{Z}` states k\pi, k an integer.
"""

import functools
import re
from typing import NamedTuple

from r1jax.graders.math import notation
from r1jax.graders.math.words import changes, is_lead, is_word


class Statement(NamedTuple):
    """A formula with its conditions.

    Attributes:
        formula: without delimiters, words before it and conditions behind it.
        domains: the names with their domains, Z, N or R: k, Z of `k \\in \\mathbb{Z}`.
        conditions: all others, in one spelling.
        modulus: of a congruence, in one spelling; "": it is none.
    """

    formula: str
    domains: tuple[tuple[str, str], ...] = ()
    conditions: frozenset[str] = frozenset()
    modulus: str = ""


_DELIMITERS = re.compile(r"\$|(?<!\\)\\[()\[\]]")
_LEADING = re.compile(
    r"\s*(?:\\text\s*\{(?P<text>[^{}]*)\}|(?P<word>[A-Za-z]+(?:['’][a-z]+)?)|[\u4e00-\u9fff]+|[,:：](?!=)|=)"
)
_PRONOUN = re.compile(r"\s*[aAI]\s+[A-Za-z]{2}")
_TRAILING = re.compile(
    r"\s*,?\s*(?:\\text\s*\{\s*\(?\s*only\s*\)?\s*\}|\(\s*only\s*\)|(?<![A-Za-z])only"
    r"|(?:\\text\s*\{)?\s*is the (?:final |correct |required )?(?:answer|result|solution|value)\s*\}?)\s*$"
)
_APPROXIMATELY = re.compile(r"^\s*\\(?:approx|simeq)(?![A-Za-z])\s*")
_INTRODUCING = (
    r"(?:where|for\s+(?:all|every|any|each|some)|for|when(?:ever)?|if|with|provided(?:\s+that)?|such\s+that"
    r"|attained|achieved|reached|occurring|as\s+long\s+as|assuming|on\s+condition)"
)
_KIND = r"(?:integers?|natural\s+numbers?|reals?(?:\s+numbers?)?|whole\s+numbers?)"
_TEXT_OF_CONDITION = re.compile(
    rf"\\text\s*\{{([^{{}}]*(?<![A-Za-z])(?:{_INTRODUCING}|{_KIND})(?![A-Za-z])[^{{}}]*)\}}"
)
_INTRODUCED = re.compile(
    rf"(?:\s*[,;]\s*|\s+|\s*\()(?:{_INTRODUCING}(?![A-Za-z])|\\forall(?![A-Za-z]))(?P<rest>.*)$", re.DOTALL
)
_MODULUS = re.compile(
    r"\s*\(?\s*\\(?:p?mod|bmod|pod)(?![A-Za-z])\s*(?:\{([^{}]{1,40})\}|([\w]{1,20}))\s*\)?\s*$"
    r"|\s*\(\s*mod\s*([\w]{1,20})\s*\)\s*$"
)
_LETTER = r"(?:[A-Za-z](?:_\w)?|\\(?!pi(?![a-z]))[a-z]{2,7})"
_MEMBER = re.compile(
    rf"(?P<name>{_LETTER})\s*\\in\s*(?:\\mathbb\s*\{{?\s*)?(?P<set>[ZNRQC])(?:\s*\}})?(?P<positive>\s*[\^_]?\{{?[+*]\}}?)?"
)
_ARTICLE = r"(?:(?:is|are|be|being|an?|any|all|every|arbitrary|the|some|each)\s+)*"
_OF_A_KIND = re.compile(
    rf"(?P<name>{_LETTER})?\s*(?:{_ARTICLE}(?P<kind>{_KIND}))|(?:{_ARTICLE}(?P<before>{_KIND})\s+(?P<named>{_LETTER}))"
)
_BOUND = re.compile(rf"(?P<name>{_LETTER})\s*(?:<|>|\\(?:le|ge|ne)(?![A-Za-z]))\s*[^,;<>=]{{1,40}}")
_ENDS = re.compile(r"[\w)}\]'!]\s*$")
_LONE_LETTER = re.compile(r"(?<![A-Za-z\\])[b-hj-zB-HJ-Z](?![A-Za-z])")


@functools.lru_cache(maxsize=4096)
def statement(text: str) -> Statement:
    """Takes a tidied text, on one line, apart; what is neither a known lead nor a condition stays in the formula."""
    text = " ".join(_DELIMITERS.sub(" ", text).split()).rstrip(" .,;:")
    text, modulus = _cut_modulus(_TRAILING.sub("", text))
    body, rest = _cut_condition(text)
    body = _APPROXIMATELY.sub("", _without_lead(body).rstrip(" .,;:").lstrip(" ,;:") or body)
    domains, conditions = _conditions(rest)
    return Statement(_TRAILING.sub("", body), domains, conditions, modulus)


def _cut_modulus(text: str) -> tuple[str, str]:
    r"""A congruence without its \pmod{7}, and the 7."""
    found = _MODULUS.search(text)
    if not found or not text[: found.start()].strip():
        return text, ""
    return text[: found.start()].rstrip(" ,;"), notation.compact(found[1] or found[2] or found[3])


def _without_lead(text: str) -> str:
    end = 0
    while match := _LEADING.match(text, end):
        word = match["word"]
        if word and not is_word(text, match.start("word"), match.end("word")) and not _PRONOUN.match(text, end):
            break
        if match["text"] is not None and re.search(r"\d", match["text"]):
            break
        if match[0].strip() == "=" and end == 0:
            break
        end = match.end()
    lead = notation.TEXT.sub(r" \1 ", text[:end])
    return text[end:] if end and end < len(text) and is_lead(lead) else text


def _cut_condition(text: str) -> tuple[str, str]:
    """The text before its conditions, and those."""
    flat = _TEXT_OF_CONDITION.sub(r" \1 ", text)
    for found in _INTRODUCED.finditer(flat):
        body, rest = flat[: found.start()], found["rest"].strip()
        if body.strip() and _is_balanced(body):
            is_bracketed = found[0].lstrip().startswith("(") and rest.endswith(")")
            return body, rest[:-1] if is_bracketed else rest
    # Without such a word: `, k \in \mathbb{Z}`, `(k an integer)`, `, x > 0`, one after the other from the end.
    pieces = re.split(r"(\s*[,;]\s*|\s+(?=\()|\s+(?=[A-Za-z]\s*\\in))", flat)
    end = len(pieces)  # of the body; then a separator and a condition by turns
    while end > 2 and _is_condition(pieces[end - 1], "".join(pieces[: end - 2])):
        end -= 2
    body = "".join(pieces[:end])
    if end == len(pieces) or not _ENDS.search(body) or not _is_balanced(body):
        return text, ""
    return body, ", ".join(pieces[end + 1 :: 2])


def _is_condition(piece: str, before: str) -> bool:
    """Whether a piece at the end of a text says what its letters are, and is no value of a list."""
    piece = piece.strip()
    if piece.startswith("(") and piece.endswith(")"):
        piece = piece[1:-1].strip()
    if _MEMBER.fullmatch(piece) or ((kind := _OF_A_KIND.fullmatch(piece)) and (kind["name"] or kind["named"])):
        return True
    bound = _BOUND.fullmatch(piece)
    letters = before if piece.startswith("\\") else re.sub(r"\\text\s*\{[^{}]*\}|\\[A-Za-z]+", " ", before)
    return bool(bound) and bound["name"] in letters and not _ORDER.search(before)


_ORDER = re.compile(r"[<>]|\\(?:le|ge|ne|in)(?![A-Za-z])")


def _is_balanced(text: str) -> bool:
    """Whether as many brackets open as close, of whatever kind: half-open intervals mix them."""
    return text.count("{") == text.count("}") and sum(map(text.count, "([")) == sum(map(text.count, ")]"))


def _conditions(rest: str) -> tuple[tuple[tuple[str, str], ...], frozenset[str]]:
    """The domains and the other conditions that words and formulas behind a value state."""
    rest = notation.TEXT.sub(r" \1 ", rest)
    rest = re.sub(rf"(?<![A-Za-z\\])(?:{_INTRODUCING}|and)(?![A-Za-z])|\\forall(?![A-Za-z])", ",", rest)
    domains, others, waiting = [], set(), []
    for piece in re.split(r"[,;](?![^()]*\))", rest):
        piece = " ".join(piece.split()).strip(" .,;()")
        member, kind = _MEMBER.fullmatch(piece), _OF_A_KIND.fullmatch(piece)
        if re.fullmatch(_LETTER, piece):
            waiting.append(piece)  # a, b of a, b \in \mathbb{Z}; all of it where x is any number
        elif member or kind:
            word = member["set"] if member else (kind["kind"] or kind["before"])[0]
            name = member["name"] if member else kind["name"] or kind["named"]
            domain = {"i": "Z", "w": "N", "n": "N", "r": "R"}.get(word, word)
            positive = bool(member and member["positive"]) or "positive" in piece
            if domain in "ZNR" and not (positive and domain == "R"):
                domain = "N" if positive else domain
                domains += [(each, domain) for each in (*waiting, name) if each]
            else:
                others.add(notation.compact(piece))
            waiting = []
        elif re.search(r"[\d\\=<>]", piece) or changes(piece) or _LONE_LETTER.search(piece):
            others.add(notation.compact(piece))
        # Words alone say nothing of a value: "for them".
    return tuple(domains), frozenset(others)
