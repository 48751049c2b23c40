"""Checks of IFEval's 25 kinds of verifiable instruction (arXiv 2311.07911).

Each check means the same as in the authors' code, including its faults: a word is a run of letters and digits, a bullet
any line that begins with a dash, and an empty paragraph in the middle fails the paragraph count. Three differ, because
they need other libraries' data: sentences end where .!?。！？ are followed by white space and no small letter, except
after an abbreviation; words of capitals are split at white space and punctuation; languages are identified by
py3langid, among those of the authors' library, and a text that is too short to be identified follows the instruction,
as does one that the library cannot identify.
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
# The languages that langdetect knows -> the script of each.
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
# A language is excluded when another is over five times as likely. The identifier divides its evidence by the square
# root of the text's length, so the ratio excludes little for a short text and every other language for a long one.
_RULED_OUT_BELOW = 0.2
_CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _compare(count: int, relation: str, bound: int) -> bool:
    return count < bound if relation == "less than" else count >= bound


def count_sentences(text: str) -> int:
    """The number of sentences of a text."""
    ends, last = 0, 0
    for end in _SENTENCE_END.finditer(text):
        before = text[max(last, end.start() - 8) : end.start()]
        if not re.search(r"\w", text[last : end.start()]) or (end[0][0] == "." and _ABBREVIATION.search(before)):
            continue
        ends, last = ends + 1, end.end()
    return ends + bool(re.search(r"\w", text[last:]))


def base_language(code: str) -> str:
    """A language code without its region, which may be a key of LANGUAGES: langdetect's `zh-cn` and `zh-tw` are zh."""
    return code.lower().split("-")[0]


def may_be_in_language(text: str, language: str) -> bool:
    """Whether a text may be in a language: it has letters of its script and no other language is much more likely.

    A text without letters may be in any language.

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
    probabilities = dict(_identifier().rank(text.lower()))
    return bool(probabilities[language] >= _RULED_OUT_BELOW * max(probabilities.values()))


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import (  # takes a second and 100 MB: grader processes start with it
        MODEL_FILE,
        LanguageIdentifier,
    )

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier


def is_english(text: str) -> bool:
    return may_be_in_language(text, "en")


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
    single = sum(bool(highlight.strip("*").strip()) for highlight in re.findall(r"\*[^\n*]*\*", text))
    double = sum(bool(highlight[2:-2].strip()) for highlight in re.findall(r"\*\*[^\n*]*\*\*", text))
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
    responses = [part.strip() for part in parts if part.strip()]
    return len(responses) == 2 and responses[0] != responses[1]


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


# Instruction -> (the parameters it needs, whether a text with these parameters follows it).
CHECKS: dict[str, tuple[tuple[str, ...], Callable[[str, Kwargs], bool]]] = {
    "keywords:existence": (("keywords",), lambda t, k: all(word.lower() in t.lower() for word in k["keywords"])),
    "keywords:frequency": (("keyword", "frequency", "relation"), _frequency),
    "keywords:forbidden_words": (("forbidden_words",), _forbidden),
    "keywords:letter_frequency": (
        ("letter", "let_frequency", "let_relation"),
        lambda t, k: _compare(t.lower().count(k["letter"].lower()), k["let_relation"], k["let_frequency"]),
    ),
    "language:response_language": (("language",), lambda t, k: may_be_in_language(t, base_language(k["language"]))),
    "length_constraints:number_sentences": (
        ("num_sentences", "relation"),
        lambda t, k: _compare(count_sentences(t), k["relation"], k["num_sentences"]),
    ),
    "length_constraints:number_paragraphs": (("num_paragraphs",), _paragraphs),
    "length_constraints:number_words": (
        ("num_words", "relation"),
        lambda t, k: _compare(len(re.findall(r"\w+", t)), k["relation"], k["num_words"]),
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
        ("prompt_to_repeat",),
        lambda t, k: t.strip().lower().startswith(k["prompt_to_repeat"].strip().lower()),
    ),
    "startend:end_checker": (
        ("end_phrase",),
        lambda t, k: t.strip().strip('"').lower().endswith(k["end_phrase"].strip().lower()),
    ),
    "startend:quotation": ((), _quoted),
    "change_case:english_capital": ((), lambda t, k: t.isupper() and is_english(t)),
    "change_case:english_lowercase": ((), lambda t, k: t.islower() and is_english(t)),
    "change_case:capital_word_frequency": (("capital_frequency", "capital_relation"), _capital_words),
    "punctuation:no_comma": ((), lambda t, k: "," not in t),
}
