"""What a text looks like, counted for metrics: words of reflection, and the scripts it is written in."""

import re
from collections import Counter

from r1jax.text.chat import TAGS

# fmt: off
REFLECTION_WORDS = (
    "wait", "hmm", "hold on", "actually", "however", "again", "let me", "let's see", "mistake", "mistakes", "wrong",
    "check", "checking", "recheck", "re-check", "double-check", "verify", "verifying", "retry", "reconsider",
    "等等", "等一下", "检查", "验算", "验证", "核对", "不对", "错了", "再算", "再想", "重新",
)
# fmt: on


def _alternatives(words: list[str]) -> str:
    # Longest first, so that "re-check" is one word of reflection and not also the "check" inside it.
    return "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in sorted(words, key=len, reverse=True))


_REFLECTION = re.compile(
    rf"(?<![a-z])(?:{_alternatives([word for word in REFLECTION_WORDS if word.isascii()])})(?![a-z])"
    rf"|{_alternatives([word for word in REFLECTION_WORDS if not word.isascii()])}",
    re.IGNORECASE,
)
_TAG_OR_FORMULA = re.compile(
    rf"{_alternatives(list(TAGS))}|\$\$.+?\$\$|\$[^$\n]+\$|\\\(.+?\\\)|\\\[.+?\\\]|\\[a-zA-Z]+", re.DOTALL
)
# Latin letters up to Extended-B, without the multiplication and division signs that stand among them.
_LATIN_WORD = re.compile(r"(?<![A-Za-zÀ-ÖØ-öø-ɏ0-9_])[A-Za-zÀ-ÖØ-öø-ɏ]{2,}(?:['’][A-Za-z]+)?")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")


def count_reflections(text: str) -> int:
    """The occurrences of `REFLECTION_WORDS`: English ones as whole words in any case, Chinese ones anywhere."""
    return len(_REFLECTION.findall(text))


def scripts(text: str, besides: str = "") -> Counter[str]:
    """Counts Latin words ("latin") and Han characters ("han"); a script that does not occur is absent.

    A Latin word has two letters or more and no digit in front, so neither variables (x, 2ab) nor units written on
    their number (5cm) are words. Left out: tags, formulas between math delimiters, LaTeX commands, digits, operators,
    punctuation. Not seen through: function names and free-standing units (sin, kg) are Latin words; other scripts
    are not counted at all. Latin words that stand in `besides`, say the question's names, are left out too.
    """
    text = _TAG_OR_FORMULA.sub(" ", text)
    given = set(_LATIN_WORD.findall(besides))
    latin = [word for word in _LATIN_WORD.findall(text) if word not in given]
    return +Counter(latin=len(latin), han=len(_HAN.findall(text)))
