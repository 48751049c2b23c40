r"""Final answer of a response: from boxes, answer tags or prose, by the same rules for every grader."""

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from r1jax.graders.math import notation
from r1jax.graders.math.formula_structure import MAX_ELEMENTS, Named, structure
from r1jax.graders.math.numerals import number
from r1jax.graders.math.words_and_units import changes_number, is_lead_in, is_number_word, is_unit_phrase, is_word
from r1jax.text.chat import Response

MAX_ANSWER = 20_000  # characters; prose without a box is not much longer

_BOX = re.compile(
    r"\\(?:boxed|fbox)(?:\s*(?P<open>\{)|\s*(?P<digits>-?\d+(?:\.\d+)?)|\s+(?P<letter>[A-Za-z])(?![A-Za-z])"
    r"|\s*(?P<command>\\(?:(?:[dtc]?frac|binom)\s*(?:\{[^{}]{0,99}\}|\d)\s*(?:\{[^{}]{0,99}\}|\d)"
    r"|sqrt\s*(?:\{[^{}]{0,99}\}|\d)|pi(?![A-Za-z]))))"
)
_BLANK_BOX = re.compile(r"(?:\\phantom\s*\{[^{}]*\}|\\(?:square|quad)(?![A-Za-z])|\\[ ,;]|[\s~?_])*+")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def final_answer(response: Response) -> str | None:
    r"""The one answer of a response, or None.

    Only text outside the thought counts. A `\boxed{}` takes precedence over the words around it. Answers that differ,
    in boxes or in answer tags, are no answer, so that listing candidates gains nothing. They may differ in spelling,
    and plain numbers in notation: 0.5 and 1/2 agree. An empty box, to be filled in, is no answer.
    """
    answers = distinct_answers(response)
    return answers[0] if len(answers) == 1 else None


def distinct_answers(response: Response) -> list[str]:
    """The answers of a response that differ from each other: several boxes of one part; none where tags differ."""
    parts = []
    for part in response.answers or (response.final,):
        answers: dict[object, str] = {}
        for answer in _answers_of_part(part):
            answers.setdefault(_comparison_key(answer), answer)
            if len(answers) > MAX_ELEMENTS:
                return []
        parts += [answers] if answers else []
    if any(answers.keys() != parts[0].keys() for answers in parts):
        return []
    return [_innermost(answer) for answer in parts[0].values() if answer] if parts else []


def _innermost(answer: str) -> str:
    """The content of a box that is the whole content of a box; else the answer itself."""
    inner = list(_boxes(answer)) if len(answer) <= MAX_ANSWER and _BOX.match(answer) else []
    return inner[0] if len(inner) == 1 and answer.endswith(f"{inner[0]}}}") else answer


def _answers_of_part(part: str) -> Iterator[str]:
    """The contents of a part's boxes, or a part without boxes itself, unless blank."""
    boxes = _boxes(part)
    box = next(boxes, None)
    for answer in (part,) if box is None else itertools.chain([box], boxes):
        if not _BLANK_BOX.fullmatch(answer):
            yield answer


def _boxes(text: str) -> Iterator[str]:
    """The contents of the outermost boxes, each on one line; a box that does not close ends the search."""
    box = _BOX.search(text)
    while box:
        depth, start, end = 1, box.end(), None
        if not box["open"]:
            yield box["digits"] or box["letter"] or box["command"]
            box = _BOX.search(text, box.end())
            continue
        for brace in _BRACE.finditer(text, start, start + MAX_ANSWER):
            depth += (brace[0] == "{") - (brace[0] == "}")
            if depth == 0:
                end = brace
                break
        if end is None:
            return
        yield " ".join(notation.restore_commands(text[start : end.start()]).split())
        box = _BOX.search(text, end.end())


@functools.lru_cache(maxsize=64)
def _comparison_key(answer: str) -> object:
    """A key that is the same for answers that agree."""
    if len(answer) > notation.MAX_FORMULA:
        return answer
    formula = notation.normalize(answer).rstrip(" .,;")
    plain = number(formula)
    return notation.without_spaces(formula) if plain is None else plain.value


_ANSWER_PHRASE = re.compile(
    r"\banswer\b[^.\n\d]{0,80}?(?:\bis\b|\bare\b|[:=])|####|(?:^|\n)[ \t]{0,9}A:"
    r"|答案(?:[^。\n\d]{0,9}?[是为:])?|故选|应选|选择?(?=\s*[(A-J])",
    re.IGNORECASE,
)
_PLAIN_ANSWER_PHRASE = re.compile(r"\s*(?:answers?\W{0,4}(?:is|are|[:=])|####|A:|答案\W{0,2}[是为:]?)", re.IGNORECASE)
_LEAD_IN = re.compile(r"\s*(?:so|thus|therefore|it(?:'s| is)|is)\b[\s,]*", re.IGNORECASE)
_DELIMITER = re.compile(r"####|\$|(?<!\\)\\[(\[]|[\u4e00-\u9fff]")
_LETTERS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_NO_PROSE = re.compile(r"\\text\s*\{[^{}]*\}|\\(?:begin|end)\s*\{\w+\*?\}")
# Pieces of a formula. Every repetition is possessive, so that no text causes backtracking.
_GROUP = r"\\text\s*\{[^{}$]{0,100}\}|\\(?:begin|end)\s*\{[a-zA-Z]{1,12}\*?\}"
_INNER = (
    rf"(?:{_GROUP}|\\[A-Za-z]++|\\[^A-Za-z()\[\]]|(?<![A-Za-z])[A-Za-z]{{1,2}}(?![A-Za-z])|[^$\\A-Za-z])"
    rf"{{1,{notation.MAX_FORMULA}}}+"
)
_TOKEN = (
    rf"(?:{_GROUP}|\\[A-Za-z]++|\\[{{}}%]|\d++|[-+*/^=<>(){{}}\[\]|!%$€£¥_,:]|\.(?=\d)"
    r"|(?<![A-Za-z'])[A-Za-z](?![A-Za-z':]))"
)
_FORMULA_IN_PROSE = re.compile(
    rf"\$\$({_INNER})\$\$|\$({_INNER})\$|\\\(({_INNER})\\\)|\\\[({_INNER})\\\]|(?P<bare>{_TOKEN}(?:[ ]*+{_TOKEN})*+)"
)
_LONE_LETTER = re.compile(r"(?:^|(?<=\s))[aAI](?=\s|$)")
_LIST_JOINER = re.compile(
    r"\s*(?:,|;|&|/|and|to|through|vs\.?|versus|,\s*and|和|与|及)\s*"
    r"|.*(?:\b(?:or|nor|maybe|perhaps|possibly|alternatively|could|might|but)\b|或).*",
    re.IGNORECASE | re.DOTALL,
)
# Words that change a number after them in a formula, but not in a sentence: "if 5 is the answer".
_CHANGING_ONLY_AFTER = frozenset(
    {"is", "are", "was", "were", "if", "when", "and", "or", "with", "because", "at", "by", "equals", "equal"}
)
_QUANTITY_NOUNS = frozenset({"sum", "product", "difference", "total", "point", "maximum", "minimum", "digits", "sign"})
_RESULT_VERBS = frozenset(
    {"equal", "comes", "amounts", "simplifies", "reduces", "evaluates", "sums", "adds", "up", "leads"}
)
_QUALIFIERS = frozenset({"maybe", "perhaps", "possibly", "not", "squared", "cubed", "halved", "doubled", "or"})
_CONNECTIVES = frozenset(
    re.findall(
        r"\w+",
        "is are was were if when with because since as so which that for after where who in on from and or to by of at "
        "but while then than per",
    )
)
_SCALE = re.compile(
    r"\s{0,3}\$?\s{0,3}(per\s?cent|percent|hundred|thousand|million|billion|trillion|dozen)(?![A-Za-z])"
)
_NEXT_WORD = re.compile(r"[\s$*)]{0,6}[,;/=]?\s{0,3}(?:(?:or|then|i\.e\.|and)\s+)?([A-Za-z]+)")
_NEXT_WORDS = re.compile(
    r"[\s$*)]{0,6}(?P<opened>[(,]?)\s{0,3}(?P<words>[A-Za-z]+(?:['-][a-z]+)?(?:[\s*]{1,3}[A-Za-z]+){0,3}+)"
)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")


def stated_answer(text: str) -> str:
    """The words of an answer in prose that state it: those after "the answer is", or all of them."""
    phrases = list(_ANSWER_PHRASE.finditer(text))
    bold = _BOLD.findall(text)
    if not phrases and len(bold) == 1:
        return bold[0].strip(" .,:;")
    rest = text[phrases[-1].end() :] if phrases else text[(lead_in.end() if (lead_in := _LEAD_IN.match(text)) else 0) :]
    return rest.replace("$", "").rstrip(" \n.*:,;!\"'").lstrip(" \n*:,;!\"'")


def stated_formula(text: str) -> str | None:
    r"""The formula that an answer states, on one line; None where it has none.

    An answer that is a formula is taken whole; of several lines of formulas the last counts. In prose it is the first
    formula or number after "the answer is", or else the last one, with those that it is listed with: "41 or 42" is a
    list of two, and so are two numbers on two lines. A formula that words qualify or deny is none.

    Args:
        text: normalised.
    """
    if not _is_prose(_NO_PROSE.sub("", text)):
        return _last_line(text)
    formulas = [formula for match in _FORMULA_IN_PROSE.finditer(text) if (formula := _prose_formula(match))]
    if not formulas:
        return None
    phrases = list(_ANSWER_PHRASE.finditer(text))
    after_phrase = [i for i, formula in enumerate(formulas) if phrases and formula.start >= phrases[-1].end()]
    first = last = after_phrase[0] if after_phrase else len(formulas) - 1
    while after_phrase and last + 1 < len(formulas) and _are_listed_together(text, formulas[last], formulas[last + 1]):
        last += 1
    while not after_phrase and first > 0 and _are_listed_together(text, formulas[first - 1], formulas[first]):
        first -= 1
    if scale := _SCALE.match(text, formulas[last].end):  # 44 percent, 3 million
        formulas[last] = _ProseFormula(formulas[last].start, scale.end(), f"{formulas[last].formula} {scale[1]}")
    if _is_qualified(text, formulas, first, last, phrases[-1].end() if after_phrase else 0) or _stated_answers_differ(
        text, phrases, formulas
    ):
        return None
    return notation.normalize(", ".join(formula.formula for formula in formulas[first : last + 1]).rstrip(" .,;"))


def _is_qualified(text: str, formulas: list["_ProseFormula"], first: int, last: int, phrase_end: int) -> bool:
    """Whether words or signs beside formulas in a sentence change, bound or deny them."""
    start = max(phrase_end, formulas[first - 1].end if first else 0, formulas[first].start - 60)
    before = re.split(r"[;.!?\n。；]", text[start : formulas[first].start])[-1].rstrip("$ *([{")
    words = before.lower().replace(",", " ").split()
    if words and not before[-1].isascii() and unicodedata.category(before[-1])[0] == "S":
        return True
    if any(
        changes_number(word) and word not in _CHANGING_ONLY_AFTER | _QUANTITY_NOUNS and not is_number_word(word)
        for word in words
    ):
        return True
    if words[-1:] and words[-1] in ("before", "after", "near", "unlike", "from", "line"):
        return True
    if words[-1:] == ["and"] and any(map(is_number_word, words[-2:-1])):
        return True
    if words and (is_number_word(words[-1]) or (any(map(is_number_word, words[-3:])) and "or" in words[-3:])):
        return True
    if words[-1:] == ["to"] and not _RESULT_VERBS.issuperset(words[-2:-1] or ["to"]):
        return True
    if words[-1:] == ["of"] and not is_lead_in(" ".join(words[-2:])):
        return True
    after = text[formulas[last].end : formulas[last].end + 80]
    if (
        (sign := after.lstrip("$ *)")[:1])
        and not sign.isascii()
        and unicodedata.category(sign) in ("Sm", "So", "Sk", "Po")
    ):
        return sign not in "。，；：！？、’”°"
    if (next_word := _NEXT_WORD.match(after)) and is_number_word(next_word[1]):
        return True
    next_words = _NEXT_WORDS.match(after)
    return bool(next_words) and _qualify_number(next_words["words"].replace("*", " "), next_words["opened"])


def _qualify_number(words: str, opening: str) -> bool:
    """Whether words after a number change it: "or more", "is wrong", "(squared)", "raised to two"."""
    content_words = [word for word in words.lower().split() if word not in ("a", "an", "one", "the")]
    if opening == ",":
        return bool(content_words) and content_words[0] in _QUALIFIERS
    for index, word in enumerate(content_words):
        next_word = content_words[index + 1] if index + 1 < len(content_words) else ""
        if word in ("is", "are", "was", "were"):
            return any(changes_number(each) and each not in _CHANGING_ONLY_AFTER for each in content_words[index + 1 :])
        if word in _CONNECTIVES:
            if changes_number(next_word) and next_word not in _CHANGING_ONLY_AFTER:
                return True
            if word not in ("and", "or", "to", "by", "of", "at"):
                return False  # begins another clause
        elif index == 0 and is_unit_phrase(word):
            continue
        elif changes_number(word) or is_number_word(word):
            return not is_unit_phrase(" ".join(content_words[: index + 2]))
    return content_words[:1] in (["or"], ["at"]) or (content_words[:1] == ["to"] and len(content_words) < 2)


def _stated_answers_differ(text: str, phrases: list[re.Match[str]], formulas: list["_ProseFormula"]) -> bool:
    """Whether several phrases "the answer is" state different formulas: candidates are no answer."""
    plain_phrases = [phrase for phrase in phrases[-9:] if _PLAIN_ANSWER_PHRASE.fullmatch(phrase[0])]
    first_formulas = [
        next((formula for formula in formulas if formula.start >= phrase.end()), None) for phrase in plain_phrases
    ]
    return len({_comparison_key(formula.formula) for formula in first_formulas if formula}) > 1


class _ProseFormula(NamedTuple):
    """A formula or number in prose: its start and end in the text, and its text without delimiters."""

    start: int
    end: int
    formula: str


def _prose_formula(match: re.Match[str]) -> _ProseFormula | None:
    """The formula of a match; None for mere punctuation and the words a, A and I."""
    formula = match[match.lastindex]
    if match["bare"]:
        formula = _LONE_LETTER.sub("", formula).strip(" ,:")
        if not re.search(r"[0-9]|\\[A-Za-z]", formula):
            return None
        if formula.count("$") == 1:
            formula = formula.replace("$", "")
    leading_chars = len(match[0]) - len(match[0].lstrip(" ,:")) if match["bare"] else 0
    return _ProseFormula(match.start() + leading_chars, match.end(), " ".join(formula.split()))


def _are_listed_together(text: str, left: _ProseFormula, right: _ProseFormula) -> bool:
    """Whether two formulas in prose are listed together, as candidates."""
    between = text[left.end : right.start]
    if between.strip():
        return len(between) < 40 and bool(_LIST_JOINER.fullmatch(between))
    return number(left.formula) is not None and number(right.formula) is not None


def _last_line(text: str) -> str | None:
    """The last line of formulas; with the lines above where these give other numbers for the same name."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip(" .,;")]
    if r"\begin" in text or len(lines) <= 1:
        return " ".join(lines).rstrip(" .,;") or None
    values = [(name, plain.value) for name, value in map(_name_and_value, lines) if (plain := number(value))]
    candidates = {value for name, value in values if name == _name_and_value(lines[-1])[0]}
    is_list = len(candidates) > 1 and number(_name_and_value(lines[-1])[1])
    return ", ".join(lines) if is_list else lines[-1].rstrip(" .,;")


def _name_and_value(line: str) -> tuple[str, str]:
    """The name and value of a line `name = value`; "" and the line itself where it has no name."""
    name, sign, value = line.partition("=")
    named = sign and len(line) <= notation.MAX_FORMULA and isinstance(structure(line), Named)
    return (notation.without_spaces(name), value.strip()) if named else ("", line)


def _is_prose(text: str) -> bool:
    """Whether a text contains words or delimiters of formulas."""
    if _DELIMITER.search(text):
        return True
    return any(is_word(text, match.start(), match.end()) for match in _LETTERS.finditer(text))
