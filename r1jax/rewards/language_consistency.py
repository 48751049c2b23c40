"""Language-consistency reward: the share of a thought's words that are in the target language.

Most languages are distinguished by a word's script, those that share one by py3langid. Words are those of
`r1jax.text.reflection_and_scripts`: code, formulas and numerals are not counted.
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from r1jax.config import nearest
from r1jax.data.types import Rollout
from r1jax.rewards import format_rewards
from r1jax.text.reflection_and_scripts import Word, words

# Script -> the languages that can be a target. The identifier chooses among these only; a question that is too short to
# be identified is in its script's first language. "Han" includes kana.
LANGUAGES = {
    "Latin": (
        *("en", "fr", "de", "es", "it", "pt", "nl", "pl", "sv", "da", "no", "fi", "et", "lv", "lt", "cs", "sk", "hu"),
        *("ro", "hr", "sl", "sq", "tr", "az", "ca", "gl", "eu", "ga", "cy", "is", "id", "ms", "tl", "vi", "sw", "af"),
    ),
    "Cyrillic": ("ru", "uk", "bg", "sr", "mk", "be", "kk", "ky", "mn"),
    "Han": ("zh", "ja"),
    "Arabic": ("ar", "fa", "ur", "ps"),
    "Devanagari": ("hi", "mr", "ne"),
    "Greek": ("el",),
    "Hebrew": ("he",),
    "Bengali": ("bn",),
    "Tamil": ("ta",),
    "Telugu": ("te",),
    "Thai": ("th",),
    "Hangul": ("ko",),
    "Armenian": ("hy",),
    "Georgian": ("ka",),
}
_SCRIPT = {language: script for script, languages in LANGUAGES.items() for language in languages}
# Letters per word in scripts without blanks between words. The 250 questions of GSM8K in MGSM's Chinese have 1.50 Han
# characters per English word (1.2 to 1.9 in nine of ten questions). 2.5 for kana makes a few sentences of Japanese as
# long as their English; the figure for Thai is a guess.
_LETTERS_PER_WORD = {"Han": 1.5, "Kana": 2.5, "Thai": 5.0}
_MAX_WORD_LETTERS = 45  # a longer one is several run together, of this many letters each:
_LETTERS_PER_LONG_WORD = 6.0
# Measured on manual pages in 11 languages and on 198 English chains of thought. Of pieces of 12 words, up to 2 in 100
# are wrongly called foreign at 0.1 (Russian 6, its pages hold some English; English 0), and 1 to 3 in 100 foreign ones
# pass. Of pieces of 8 words 10 in 100 pass between Spanish and Portuguese.
_PIECE_WORDS = 12  # words that are identified at a time
_MIN_PIECE_WORDS = 6  # shorter pieces are not identified
_FOREIGN_BELOW = 0.1  # probability of the target language
_MAX_BORROWED = 3  # adjacent words that may be a name or a term
_KANA_OF_JAPANESE = 0.2  # share of the letters, in Japanese
_MAX_CHARS = 200_000
_SLICES = 20


def check_target(target: str) -> None:
    """Checks that a target language can be identified; "" is the language of the question.

    Raises:
        ValueError: it is not in `LANGUAGES`; names the nearest.
    """
    if target and target not in _SCRIPT:
        raise ValueError(f"no target language {target!r}; nearest: {nearest(target, _SCRIPT)}")


def consistency(rollout: Rollout, target: str) -> float | None:
    """The share of the thought's words that are in the target language (DeepSeek-R1, section 2.3.2), 0 to 1.

    Words in the target's script count for it, unless the identifier gives the target a probability below 0.1 for their
    sentence or dozen words: what cannot be identified is not foreign. Words of any other script are foreign, except
    names (capitalised inside a sentence) and words of the question, up to three together. So are words that mix
    scripts. 1.5 Chinese characters count as a word. Of a thought longer than 200,000 characters, 20 slices are read.

    Not detected: a foreign word or two in a sentence of the same script; a language that is not in `LANGUAGES`, which
    is taken for some that are (so romanised Chinese is mostly foreign to English, and not Chinese either); words
    spelt out letter by letter; and the limits of `r1jax.text.reflection_and_scripts.words` concerning code.

    Args:
        target: one of `LANGUAGES`, for example "en"; "": the language of the question.

    Returns:
        0.0 for a thought without words, or none at all, so that an empty thought gains nothing; 1.0 where none is
        needed (`format_rewards.is_bare_answer`). None only where the target is the question's language and the question
        has no words, which a policy cannot influence.

    Raises:
        ValueError: no such target language.
    """
    check_target(target)
    target = target or language_of(rollout.prompt.question)
    if not target:
        return None
    if format_rewards.is_bare_answer(rollout):
        return 1.0
    return share_in_language(rollout.prompt.question, rollout.response.thought, target)


def share_in_language(question: str, text: str, target: str) -> float:
    """The share of a text's words that are in a language, 0 to 1, as `consistency` counts them; 0.0 without words.

    Args:
        question: whose words may occur in the text in any language.
        target: one of `LANGUAGES`.

    Raises:
        ValueError: no such target language.
    """
    check_target(target)
    question_words = f" {' '.join(word.text for word in words(question))} ".lower()
    target_words = all_words = 0.0
    for script, script_words in itertools.groupby(words(_sampled_slices(text)), _script_of):
        if script == _SCRIPT[target]:
            for piece in _pieces(script_words):
                weight = _total_words(piece)
                all_words += weight
                target_words += 0.0 if _is_foreign(piece, target) else weight
        else:
            foreign_words = list(script_words)
            if script != "other" and _total_words(foreign_words) <= _MAX_BORROWED:
                foreign_words = [
                    word for word in foreign_words if not (_is_name(word) or _occurs_in(question_words, word))
                ]
            all_words += _total_words(foreign_words)
    return target_words / all_words if all_words else 0.0


@functools.lru_cache(maxsize=1024)  # a group's samples share their question
def language_of(text: str) -> str:
    """The most likely language of most of a text's words; "" where it has no words."""
    by_script = {}
    for word in words(_sampled_slices(text)):
        by_script.setdefault(_script_of(word), []).append(word)
    by_script.pop("other", None)
    if not by_script:
        return ""
    script, text_words = max(by_script.items(), key=lambda item: _total_words(item[1]))
    probabilities = _probabilities(text_words, script) if _total_words(text_words) >= _MIN_PIECE_WORDS else {}
    return max(probabilities, key=probabilities.get, default=LANGUAGES[script][0])


def _script_of(word: Word) -> str:
    if len(word.text) > _MAX_WORD_LETTERS and word.script not in _LETTERS_PER_WORD:
        return "other"
    return "Han" if word.script == "Kana" else word.script


def _word_count(word: Word) -> float:
    """How many words it counts as."""
    if word.script in _LETTERS_PER_WORD:
        return len(word.text) / _LETTERS_PER_WORD[word.script]
    return len(word.text) / _LETTERS_PER_LONG_WORD if len(word.text) > _MAX_WORD_LETTERS else 1.0


def _total_words(piece: Iterable[Word]) -> float:
    return sum(map(_word_count, piece))


def _is_name(word: Word) -> bool:
    return word.text[0].isupper() and not word.first


def _occurs_in(question: str, word: Word) -> bool:
    return (word.text if word.script in _LETTERS_PER_WORD else f" {word.text} ").lower() in question


def _pieces(script_words: Iterable[Word]) -> Iterator[list[Word]]:
    """Adjacent words by sentences, short ones joined and long ones divided, so that each can be identified."""
    sentences = [[]]
    for word in script_words:
        if word.first and _total_words(sentences[-1]) >= _MIN_PIECE_WORDS:
            sentences.append([])
        sentences[-1].append(word)
    if len(sentences) > 1 and _total_words(sentences[-1]) < _MIN_PIECE_WORDS:
        last = sentences.pop()
        sentences[-1] += last
    for sentence in sentences:
        size = math.ceil(len(sentence) / max(round(_total_words(sentence) / _PIECE_WORDS), 1))
        yield from (sentence[start : start + size] for start in range(0, len(sentence), size))


def _is_foreign(piece: Sequence[Word], target: str) -> bool:
    if len(LANGUAGES[_SCRIPT[target]]) == 1 or _total_words(piece) < _MIN_PIECE_WORDS:
        return False
    return _probabilities(piece, _SCRIPT[target])[target] < _FOREIGN_BELOW


def _probabilities(piece: Iterable[Word], script: str) -> dict[str, float]:
    """Language of a script -> its probability for a piece."""
    if script == "Han":
        letters = Counter()
        for word in piece:
            letters[word.script] += len(word.text)
        japanese = letters["Kana"] >= _KANA_OF_JAPANESE * letters.total()
        return {"zh": float(not japanese), "ja": float(japanese)}
    probabilities = dict(_identifier().rank(" ".join(word.text.lower() for word in piece)))
    total = sum(probabilities[language] for language in LANGUAGES[script])
    return {language: probabilities[language] / total if total else 1.0 for language in LANGUAGES[script]}


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import (
        MODEL_FILE,
        LanguageIdentifier,
    )  # takes a second and 100 MB: grader processes start with it

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(_SCRIPT))
    return identifier


def _sampled_slices(text: str) -> str:
    if len(text) <= _MAX_CHARS:
        return text
    size = _MAX_CHARS // _SLICES
    starts = (index * (len(text) - size) // (_SLICES - 1) for index in range(_SLICES))
    return "\n".join(text[start : start + size] for start in starts)
