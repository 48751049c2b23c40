"""Language consistency: how much of a thought is written in the language asked for.

A word's script tells most languages apart, py3langid those that share one. What is a word, and that code, formulas and
numerals are none, is the business of `r1jax.text.traits`.
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
from r1jax.text.traits import Word, words

# The languages that can be a target, by what they are written in. They are also all that the identifier chooses from,
# and where a question is too short for it, the first is taken. "Han" stands for kana as well.
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
# Letters that count as a word where words have no blanks between them. In the 250 questions of GSM8K that MGSM has in
# Chinese, 1.50 Han characters stand for an English word (of single questions nine in ten have 1.2 to 1.9). For kana,
# 2.5 makes a few sentences of Japanese as long as their English; the figure for Thai is a guess.
_LETTERS_PER_WORD = {"Han": 1.5, "Kana": 2.5, "Thai": 5.0}
_LONGEST_WORD = 45  # letters; what is longer is words run together, and counts by this many letters each:
_LETTERS_OF_A_LONG_WORD = 6.0
# Measured on manual pages in 11 languages and on 198 English chains of thought. Of pieces of 12 words, up to 2 in 100
# are wrongly ruled out at 0.1 (Russian 6, its pages hold some English; English 0), and 1 to 3 in 100 foreign ones pass.
# Of pieces of 8 words 10 in 100 pass between Spanish and Portuguese.
_PIECE = 12  # words that the identifier is shown at a time,
_SHORTEST_PIECE = 6  # and below which it is not asked
_FOREIGN_BELOW = 0.1  # the target's probability
_BORROWED = 3  # words that may be a name or a term
_KANA_OF_JAPANESE = 0.2  # share of the letters
_MOST_LETTERS = 200_000
_SLICES = 20


def check(target: str) -> None:
    """Refuses a target language that could not be told; "" is the language of the question.

    Raises:
        ValueError: no such language.
    """
    if target and target not in _SCRIPT:
        raise ValueError(f"no target language {target!r}; nearest: {nearest(target, _SCRIPT)}")


def consistency(rollout: Rollout, target: str) -> float | None:
    """The share of the thought's words that are in the target language (DeepSeek-R1, section 2.3.2), 0 to 1.

    Words count for the target in its script, unless the identifier all but rules the target out for the sentence, or
    the dozen words, that they stand in: what cannot be told is not foreign. Words of any other script are foreign, but
    for names (capitalised inside a sentence) and words of the question, where no more than three words stand together.
    So are words that mix scripts. Chinese characters count 1.5 to a word. Of a thought longer than 200,000 characters,
    20 slices are read.

    Not seen through: a foreign word or two in a sentence of the same script; a language that is not in `LANGUAGES`,
    which is taken for some that are (so romanised Chinese is mostly foreign to English, and not Chinese either); words
    spelt out letter by letter; and what `r1jax.text.traits.words` says of code.

    Args:
        target: one of `LANGUAGES`, say "en"; "": the language of the question.

    Returns:
        0.0 for a thought without words, or none at all, so that silence does not pay; 1.0 where none is called for
        (`form.is_bare`). None only where the target is the
        question's language and the question has no words, over which a policy has no say.

    Raises:
        ValueError: no such target language.
    """
    check(target)
    target = target or language_of(rollout.prompt.question)
    if not target:
        return None
    if format_rewards.is_bare(rollout):
        return 1.0
    given = f" {' '.join(word.text for word in words(rollout.prompt.question))} ".lower()
    ours = total = 0.0
    for script, run in itertools.groupby(words(_slices(rollout.response.thought)), _written_in):
        if script == _SCRIPT[target]:
            for piece in _pieces(run):
                weight = _count(piece)
                total += weight
                ours += 0.0 if _is_foreign(piece, target) else weight
        else:
            foreign = list(run)
            if script != "other" and _count(foreign) <= _BORROWED:
                foreign = [word for word in foreign if not (_is_name(word) or _is_in(given, word))]
            total += _count(foreign)
    return ours / total if total else 0.0


@functools.lru_cache(maxsize=1024)  # a group's samples share their question
def language_of(text: str) -> str:
    """The language that most words of a text are in, as far as one can tell; "" where it has none."""
    by_script = {}
    for word in words(_slices(text)):
        by_script.setdefault(_written_in(word), []).append(word)
    by_script.pop("other", None)
    if not by_script:
        return ""
    script, said = max(by_script.items(), key=lambda item: _count(item[1]))
    chances = _chances(said, script) if _count(said) >= _SHORTEST_PIECE else {}
    return max(chances, key=chances.get, default=LANGUAGES[script][0])


def _written_in(word: Word) -> str:
    if len(word.text) > _LONGEST_WORD and word.script not in _LETTERS_PER_WORD:
        return "other"
    return "Han" if word.script == "Kana" else word.script


def _weight(word: Word) -> float:
    """How many words it is."""
    if word.script in _LETTERS_PER_WORD:
        return len(word.text) / _LETTERS_PER_WORD[word.script]
    return len(word.text) / _LETTERS_OF_A_LONG_WORD if len(word.text) > _LONGEST_WORD else 1.0


def _count(said: Iterable[Word]) -> float:
    return sum(map(_weight, said))


def _is_name(word: Word) -> bool:
    return word.text[0].isupper() and not word.first


def _is_in(given: str, word: Word) -> bool:
    return (word.text if word.script in _LETTERS_PER_WORD else f" {word.text} ").lower() in given


def _pieces(run: Iterable[Word]) -> Iterator[list[Word]]:
    """A run by its sentences, short ones together and long ones in parts, so that each has a language to be told."""
    sentences = [[]]
    for word in run:
        if word.first and _count(sentences[-1]) >= _SHORTEST_PIECE:
            sentences.append([])
        sentences[-1].append(word)
    if len(sentences) > 1 and _count(sentences[-1]) < _SHORTEST_PIECE:
        rest = sentences.pop()
        sentences[-1] += rest
    for sentence in sentences:
        size = math.ceil(len(sentence) / max(round(_count(sentence) / _PIECE), 1))
        yield from (sentence[start : start + size] for start in range(0, len(sentence), size))


def _is_foreign(piece: Sequence[Word], target: str) -> bool:
    if len(LANGUAGES[_SCRIPT[target]]) == 1 or _count(piece) < _SHORTEST_PIECE:
        return False
    return _chances(piece, _SCRIPT[target])[target] < _FOREIGN_BELOW


def _chances(said: Iterable[Word], script: str) -> dict[str, float]:
    """The probability of each language of a script."""
    if script == "Han":
        letters = Counter()
        for word in said:
            letters[word.script] += len(word.text)
        japanese = letters["Kana"] >= _KANA_OF_JAPANESE * letters.total()
        return {"zh": float(not japanese), "ja": float(japanese)}
    chances = dict(_identifier().rank(" ".join(word.text.lower() for word in said)))
    total = sum(chances[language] for language in LANGUAGES[script])
    return {language: chances[language] / total if total else 1.0 for language in LANGUAGES[script]}


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # a second and 100 MB: graders' processes begin with it

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(_SCRIPT))
    return identifier


def _slices(text: str) -> str:
    if len(text) <= _MOST_LETTERS:
        return text
    size = _MOST_LETTERS // _SLICES
    starts = (index * (len(text) - size) // (_SLICES - 1) for index in range(_SLICES))
    return "\n".join(text[start : start + size] for start in starts)
