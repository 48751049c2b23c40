r"""Statement: a formula separated from its delimiters, from words that introduce it, and from its conditions.

`The maximum is $5$, attained at $x=2$` states 5 under a condition; `k\pi, k \in \mathbb{Z}` states k\pi, k an integer.
"""

import functools
import re
from typing import NamedTuple

from r1jax.graders.math import notation
from r1jax.graders.math.words_and_units import changes_number, is_lead_in, is_word


class Statement(NamedTuple):
    """A formula with its conditions.

    Attributes:
        formula: without delimiters, words before it and conditions after it.
        domains: (name, domain), the domain being Z, N or R: k, Z of `k \\in \\mathbb{Z}`.
        conditions: all other conditions, without white space.
        modulus: of a congruence, without white space; "": it is none.
    """

    formula: str
    domains: tuple[tuple[str, str], ...] = ()
    conditions: frozenset[str] = frozenset()
    modulus: str = ""


_DELIMITERS = re.compile(r"\$|(?<!\\)\\[()\[\]]")
_LEAD_IN_TOKEN = re.compile(
    r"\s*(?:\\text\s*\{(?P<text>[^{}]*)\}|(?P<word>[A-Za-z]+(?:['’][a-z]+)?)|[\u4e00-\u9fff]+|[,:：](?!=)|=)"
)
_PRONOUN = re.compile(r"\s*[aAI]\s+[A-Za-z]{2}")
_TRAILING_PHRASE = re.compile(
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
_INTRODUCED_CONDITION = re.compile(
    rf"(?:\s*[,;]\s*|\s+|\s*\()(?:{_INTRODUCING}(?![A-Za-z])|\\forall(?![A-Za-z]))(?P<rest>.*)$", re.DOTALL
)
_MODULUS = re.compile(
    r"\s*\(?\s*\\(?:p?mod|bmod|pod)(?![A-Za-z])\s*(?:\{([^{}]{1,40})\}|([\w]{1,20}))\s*\)?\s*$"
    r"|\s*\(\s*mod\s*([\w]{1,20})\s*\)\s*$"
)
_LETTER = r"(?:[A-Za-z](?:_\w)?|\\(?!pi(?![a-z]))[a-z]{2,7})"
_MEMBERSHIP = re.compile(
    rf"(?P<name>{_LETTER})\s*\\in\s*(?:\\mathbb\s*\{{?\s*)?(?P<set>[ZNRQC])(?:\s*\}})?(?P<positive>\s*[\^_]?\{{?[+*]\}}?)?"
)
_ARTICLE = r"(?:(?:is|are|be|being|an?|any|all|every|arbitrary|the|some|each)\s+)*"
_KIND_PHRASE = re.compile(
    rf"(?P<name>{_LETTER})?\s*(?:{_ARTICLE}(?P<kind>{_KIND}))|(?:{_ARTICLE}(?P<before>{_KIND})\s+(?P<named>{_LETTER}))"
)
_BOUND_CONDITION = re.compile(rf"(?P<name>{_LETTER})\s*(?:<|>|\\(?:le|ge|ne)(?![A-Za-z]))\s*[^,;<>=]{{1,40}}")
_VALUE_END = re.compile(r"[\w)}\]'!]\s*$")
_LONE_LETTER = re.compile(r"(?<![A-Za-z\\])[b-hj-zB-HJ-Z](?![A-Za-z])")


@functools.lru_cache(maxsize=4096)
def parse_statement(text: str) -> Statement:
    """Parses a normalised text on one line; what is neither a lead-in nor a condition stays in the formula."""
    text = " ".join(_DELIMITERS.sub(" ", text).split()).rstrip(" .,;:")
    text, modulus = _split_modulus(_TRAILING_PHRASE.sub("", text))
    body, condition = _split_condition(text)
    body = _APPROXIMATELY.sub("", _without_lead_in(body).rstrip(" .,;:").lstrip(" ,;:") or body)
    domains, conditions = _conditions(condition)
    return Statement(_TRAILING_PHRASE.sub("", body), domains, conditions, modulus)


def _split_modulus(text: str) -> tuple[str, str]:
    r"""A congruence without its \pmod{7}, and the 7; the text and "" where it is none."""
    match = _MODULUS.search(text)
    if not match or not text[: match.start()].strip():
        return text, ""
    return text[: match.start()].rstrip(" ,;"), notation.without_spaces(match[1] or match[2] or match[3])


def _without_lead_in(text: str) -> str:
    end = 0
    while match := _LEAD_IN_TOKEN.match(text, end):
        word = match["word"]
        if word and not is_word(text, match.start("word"), match.end("word")) and not _PRONOUN.match(text, end):
            break
        if match["text"] is not None and re.search(r"\d", match["text"]):
            break
        if match[0].strip() == "=" and end == 0:
            break
        end = match.end()
    lead_in = notation.TEXT.sub(r" \1 ", text[:end])
    return text[end:] if end and end < len(text) and is_lead_in(lead_in) else text


def _split_condition(text: str) -> tuple[str, str]:
    """The text before its conditions, and the conditions."""
    plain = _TEXT_OF_CONDITION.sub(r" \1 ", text)
    for match in _INTRODUCED_CONDITION.finditer(plain):
        body, condition = plain[: match.start()], match["rest"].strip()
        if body.strip() and _is_balanced(body):
            is_bracketed = match[0].lstrip().startswith("(") and condition.endswith(")")
            return body, condition[:-1] if is_bracketed else condition
    # Conditions without such a word, from the end: `, k \in \mathbb{Z}`, `(k an integer)`, `, x > 0`.
    pieces = re.split(r"(\s*[,;]\s*|\s+(?=\()|\s+(?=[A-Za-z]\s*\\in))", plain)
    end = len(pieces)  # of the body; after it, separators and conditions alternate
    while end > 2 and _is_condition(pieces[end - 1], "".join(pieces[: end - 2])):
        end -= 2
    body = "".join(pieces[:end])
    if end == len(pieces) or not _VALUE_END.search(body) or not _is_balanced(body):
        return text, ""
    return body, ", ".join(pieces[end + 1 :: 2])


def _is_condition(piece: str, before: str) -> bool:
    """Whether a piece at the end of a text is a condition on its variables, and no element of a list."""
    piece = piece.strip()
    if piece.startswith("(") and piece.endswith(")"):
        piece = piece[1:-1].strip()
    if _MEMBERSHIP.fullmatch(piece) or ((kind := _KIND_PHRASE.fullmatch(piece)) and (kind["name"] or kind["named"])):
        return True
    bound = _BOUND_CONDITION.fullmatch(piece)
    letters = before if piece.startswith("\\") else re.sub(r"\\text\s*\{[^{}]*\}|\\[A-Za-z]+", " ", before)
    return bool(bound) and bound["name"] in letters and not _ORDER.search(before)


_ORDER = re.compile(r"[<>]|\\(?:le|ge|ne|in)(?![A-Za-z])")


def _is_balanced(text: str) -> bool:
    """Whether as many brackets open as close; round and square ones count together, as in half-open intervals."""
    return text.count("{") == text.count("}") and sum(map(text.count, "([")) == sum(map(text.count, ")]"))


def _conditions(text: str) -> tuple[tuple[tuple[str, str], ...], frozenset[str]]:
    """The domains and the other conditions that the text after a formula states."""
    text = notation.TEXT.sub(r" \1 ", text)
    text = re.sub(rf"(?<![A-Za-z\\])(?:{_INTRODUCING}|and)(?![A-Za-z])|\\forall(?![A-Za-z])", ",", text)
    domains, other_conditions, pending_names = [], set(), []
    for piece in re.split(r"[,;](?![^()]*\))", text):
        piece = " ".join(piece.split()).strip(" .,;()")
        member, kind = _MEMBERSHIP.fullmatch(piece), _KIND_PHRASE.fullmatch(piece)
        if re.fullmatch(_LETTER, piece):
            pending_names.append(piece)  # a of a, b \in \mathbb{Z}; a name alone is any number
        elif member or kind:
            word = member["set"] if member else (kind["kind"] or kind["before"])[0]
            name = member["name"] if member else kind["name"] or kind["named"]
            domain = {"i": "Z", "w": "N", "n": "N", "r": "R"}.get(word, word)
            positive = bool(member and member["positive"]) or "positive" in piece
            if domain in "ZNR" and not (positive and domain == "R"):
                domain = "N" if positive else domain
                domains += [(each, domain) for each in (*pending_names, name) if each]
            else:
                other_conditions.add(notation.without_spaces(piece))
            pending_names = []
        elif re.search(r"[\d\\=<>]", piece) or changes_number(piece) or _LONE_LETTER.search(piece):
            other_conditions.add(notation.without_spaces(piece))
        # Words alone are no condition: "for them".
    return tuple(domains), frozenset(other_conditions)
