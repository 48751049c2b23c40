"""IFEval's 25 kinds of verifiable instruction (arXiv 2311.07911): whether a text follows one.

The meaning of each is that of the authors' checker, faults included: a word is a run of letters and digits, a bullet
any line that begins with a dash, an empty paragraph in the middle spoils the count. Three differ, for want of their
libraries' data: sentences end where .!?。！？ are followed by white space and no small letter, unless an abbreviation
stands before; words of capitals are split at white space and punctuation; py3langid identifies languages, among those
that the authors' library knows, and a text too short to be sure of follows the instruction, as one that the library
cannot identify does.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import regex  # it knows scripts, which re does not

Kwargs = Mapping[str, Any]

_SENTENCE_END = re.compile(r"[.!?][\"')\]”’]*(?=\s+[^\sa-z])|[。！？][”’」』]*|[.!?][\"')\]”’]*\s*$|\n\s*\n")
_ABBREVIATION = re.compile(r"(?:\b(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|no|inc|jr|sr|[a-z]))$", re.IGNORECASE)
# The languages that langdetect tells apart, by the script that each is written in.
LANGUAGES = {
    language: script
    for script, languages in {
        "Latin": "af ca cs cy da de en es et fi fr hr hu id it lt lv nl no pl pt ro sk sl so sq sv sw tl tr vi",
        "Arabic": "ar fa ur",
        "Bengali": "bn",
        "Cyrillic": "bg mk ru uk",
        "Devanagari": "hi mr ne",
        "Greek": "el",
        "Gujarati": "gu",
        "Gurmukhi": "pa",
        "Han": "ja zh",
        "Hangul": "ko",
        "Hebrew": "he",
        "Kannada": "kn",
        "Malayalam": "ml",
        "Tamil": "ta",
        "Telugu": "te",
        "Thai": "th",
    }.items()
    for language in languages.split()
}
# A language is ruled out when another is over five times as likely. The identifier divides its evidence by the square
# root of the text's length, so one ratio asks little of a short text and lets no other language pass in a long one.
_RULED_OUT_BELOW = 0.2
_CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _compare(count: int, relation: str, bound: int) -> bool:
    return count < bound if relation == "less than" else count >= bound


def sentences(text: str) -> int:
    """How many sentences a text has."""
    ends, last = 0, 0
    for end in _SENTENCE_END.finditer(text):
        before = text[max(last, end.start() - 8) : end.start()]
        if not re.search(r"\w", text[last : end.start()]) or (end[0][0] == "." and _ABBREVIATION.search(before)):
            continue
        ends, last = ends + 1, end.end()
    return ends + bool(re.search(r"\w", text[last:]))


def base_language(code: str) -> str:
    """A key of LANGUAGES, or what is none: langdetect's `zh-cn` and `zh-tw` are one language here."""
    return code.lower().split("-")[0]


def may_be_in(text: str, language: str) -> bool:
    """Whether a text is in a language as far as one can tell: it has letters of its script, or no letters at all, and
    no other language is much more likely.

    Args:
        language: a key of LANGUAGES.
    """
    if not regex.search(r"\p{L}", text):
        return True
    script = LANGUAGES[language]
    # Japanese can do without Chinese characters.
    kana = r"\p{Script=Hiragana}\p{Script=Katakana}" if language == "ja" else ""
    if not regex.search(rf"[\p{{Script={script}}}{kana}]", text):
        return False
    chances = dict(_identifier().rank(text.lower()))
    return bool(chances[language] >= _RULED_OUT_BELOW * max(chances.values()))


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # a second and 100 MB: graders' processes begin with it

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier


def is_english(text: str) -> bool:
    return may_be_in(text, "en")


def _paragraphs(text: str, kwargs: Kwargs) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", text)
    count = len(parts)
    for i, part in enumerate(parts):
        if not part.strip():
            if 0 < i < len(parts) - 1:
                return False
            count -= 1
    return count == kwargs["num_paragraphs"]


def _first_word(text: str, kwargs: Kwargs) -> bool:
    parts, nth = text.split("\n\n"), kwargs["nth_paragraph"]
    count = sum(bool(part.strip()) for part in parts)
    if nth > count or nth > len(parts) or not parts[nth - 1].strip():
        return False
    word = parts[nth - 1].split()[0].lstrip("'").lstrip('"')
    word = re.match(r"[^.,?!'\"]*", word)[0].lower()
    return count == kwargs["num_paragraphs"] and word == kwargs["first_word"].lower()


def _postscript(text: str, kwargs: Kwargs) -> bool:
    marker, text = kwargs["postscript_marker"], text.lower()
    pattern = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}.get(marker, re.escape(marker.lower()))
    return bool(re.search(pattern, text))


def _highlights(text: str, kwargs: Kwargs) -> bool:
    single = sum(bool(found.strip("*").strip()) for found in re.findall(r"\*[^\n*]*\*", text))
    double = sum(bool(found[2:-2].strip()) for found in re.findall(r"\*\*[^\n*]*\*\*", text))
    return single + double >= kwargs["num_highlights"]


def _is_json(text: str, kwargs: Kwargs) -> bool:
    text = re.sub(r"^```(?:json|Json|JSON)?", "", text.strip()).removesuffix("```").strip()
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _two_responses(text: str, kwargs: Kwargs) -> bool:
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    said = [part.strip() for part in parts if part.strip()]
    return len(said) == 2 and said[0] != said[1]


def _frequency(text: str, kwargs: Kwargs) -> bool:
    return _compare(text.lower().count(kwargs["keyword"].lower()), kwargs["relation"], kwargs["frequency"])


def _forbidden(text: str, kwargs: Kwargs) -> bool:
    words = kwargs["forbidden_words"]
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in words)


def _capital_words(text: str, kwargs: Kwargs) -> bool:
    words = [word for word in re.findall(r"[\w'-]+", text) if word.isupper()]
    return _compare(len(words), kwargs["capital_relation"], kwargs["capital_frequency"])


def _sections(text: str, kwargs: Kwargs) -> bool:
    splitter = re.escape(kwargs["section_spliter"].strip())
    return len(re.findall(rf"{splitter}\s?\d+", text)) >= kwargs["num_sections"]


def _bullets(text: str, kwargs: Kwargs) -> bool:
    lines = [line.lstrip() for line in text.split("\n")]
    count = sum(bool(re.match(r"\*[^*]", line)) or line.startswith("-") for line in lines)
    return count == kwargs["num_bullets"]


def _quoted(text: str, kwargs: Kwargs) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _title(text: str, kwargs: Kwargs) -> bool:
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end and line[start:end].strip("<> \t"):
            return True
    return False


def _placeholders(text: str, kwargs: Kwargs) -> bool:
    # No regular expression: over a run of unclosed brackets it would take quadratic time.
    count = 0
    for line in text.split("\n"):
        start = line.find("[")
        while start >= 0 and (end := line.find("]", start)) >= 0:
            count, start = count + 1, line.find("[", end)
    return count >= kwargs["num_placeholders"]


# Each: what it needs, and whether a text follows it.
CHECKS: dict[str, tuple[tuple[str, ...], Callable[[str, Kwargs], bool]]] = {
    "keywords:existence": (("keywords",), lambda t, k: all(word.lower() in t.lower() for word in k["keywords"])),
    "keywords:frequency": (("keyword", "frequency", "relation"), _frequency),
    "keywords:forbidden_words": (("forbidden_words",), _forbidden),
    "keywords:letter_frequency": (
        ("letter", "let_frequency", "let_relation"),
        lambda t, k: _compare(t.lower().count(k["letter"].lower()), k["let_relation"], k["let_frequency"]),
    ),
    "language:response_language": (("language",), lambda t, k: may_be_in(t, base_language(k["language"]))),
    "length_constraints:number_sentences": (
        ("num_sentences", "relation"), lambda t, k: _compare(sentences(t), k["relation"], k["num_sentences"])
    ),
    "length_constraints:number_paragraphs": (("num_paragraphs",), _paragraphs),
    "length_constraints:number_words": (
        ("num_words", "relation"), lambda t, k: _compare(len(re.findall(r"\w+", t)), k["relation"], k["num_words"])
    ),
    "length_constraints:nth_paragraph_first_word": (("num_paragraphs", "nth_paragraph", "first_word"), _first_word),
    "detectable_content:number_placeholders": (("num_placeholders",), _placeholders),
    "detectable_content:postscript": (("postscript_marker",), _postscript),
    "detectable_format:number_bullet_lists": (("num_bullets",), _bullets),
    "detectable_format:constrained_response": ((), lambda t, k: any(answer in t for answer in _CONSTRAINED)),
    "detectable_format:number_highlighted_sections": (("num_highlights",), _highlights),
    "detectable_format:multiple_sections": (("section_spliter", "num_sections"), _sections),
    "detectable_format:json_format": ((), _is_json),
    "detectable_format:title": ((), _title),
    "combination:two_responses": ((), _two_responses),
    "combination:repeat_prompt": (
        ("prompt_to_repeat",), lambda t, k: t.strip().lower().startswith(k["prompt_to_repeat"].strip().lower())
    ),
    "startend:end_checker": (
        ("end_phrase",), lambda t, k: t.strip().strip('"').lower().endswith(k["end_phrase"].strip().lower())
    ),
    "startend:quotation": ((), _quoted),
    "change_case:english_capital": ((), lambda t, k: t.isupper() and is_english(t)),
    "change_case:english_lowercase": ((), lambda t, k: t.islower() and is_english(t)),
    "change_case:capital_word_frequency": (("capital_frequency", "capital_relation"), _capital_words),
    "punctuation:no_comma": ((), lambda t, k: "," not in t),
}  # fmt: skip
