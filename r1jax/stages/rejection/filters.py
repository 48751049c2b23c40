"""Which samples are fit to be taught: the filters of rejection sampling (arXiv 2501.12948, section 2.3.3).

The paper keeps what is right and drops mixed languages, long paragraphs and code blocks in the thought; it gives no
thresholds. Those here are ours, and so are the filters for form, length, repetition and duplicates. Of 331 thoughts of
other models (Marco-o1, HuatuoGPT-o1, R1's distillates) the defaults drop 12: 7 in English about a Chinese question, 4
with a code block, 1 with a long paragraph. Text only, no jax: filters run in processes of their own, at some 50,000
words a second in each.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from r1jax.config import at_least, within
from r1jax.data.types import Prompt, Rollout
from r1jax.rewards import format_rewards as form
from r1jax.rewards import language_consistency
from r1jax.text import overlap, traits

_PIECES = 5  # words and symbols in a row, of which two near-duplicates share most
_CODE_LINES = 3  # in a row, that are taken for code where no fence says so
_LONGEST_LINE = 400  # characters of a line that may be code; patterns take their time over a long one
_CODE_TAG = re.compile(r"^[ \t]*(?:```|~~~)|<(?:pre|code)\b[^<>\n]{0,99}>", re.MULTILINE | re.IGNORECASE)
# Lines of the languages that models write most: Python, C and its kin, JavaScript. Lower case, for sentences begin with
# a capital: "If it is even:".
_CODE_LINE = re.compile(
    "|".join(
        (
            r"(?:def|class|for|while|if|elif|else|try|except|with)\b.*:",
            r"(?:import|from) [\w.]+(?: (?:import|as) .+)?|#include\b.*|return(?: [^.]+)?;?",
            r"(?:int|long|double|float|bool|char|auto|string|let|const|var) \w+.*;",
            r"(?:[\w.]+\(.*\)|[^\\]*[)\w]) ?\{|\}[;,]?",
            r"(?:print|console\.log|printf|\w+\.\w+)\(.*\);?",
        )
    )
)
# What stands between these, and in formulas too: x = 5, f(3).
_PERHAPS_CODE = re.compile(r"[\w.\[\]]+ ?(?:[-+*/|&%]|//|\*\*)?= ?[^\\]+|[\w.]+\([^\\]*\);?|[^\\]+;|#.*")


@dataclasses.dataclass(frozen=True)
class FilterConfig:
    """What a sample has to be to be kept. A threshold at 0 turns its filter off.

    Attributes:
        form: "strict": exactly the form that its prompt asks for; "parts": a thought and a summary that can be told
            apart, as in a server's `<think>...</think>summary`; "any": whatever has a summary, simple requests' answers
            without a thought among them.
        min_score: the least grade: 1.0 for right by rule, by the judge's check of facts, or preferred to a reference in
            both orders; 0.5 lets ties with the reference pass.
        language: the least share of the thought's words in the question's language, see `rewards.language.consistency`.
        paragraph_words: the most that stand between two line breaks of the thought; each Chinese character is one.
        code: keep code blocks in thoughts.
        repetition: the largest share of the response's runs of `repetition_ngram` words that came before, 0 to 1.
        repetition_ngram: see `rewards.form.repetition_penalty`.
        min_tokens, max_tokens: of the response, both included.
        near_duplicate: how much of their runs of five words and symbols two samples of one question may share, 0 to 1,
            see `text.overlap.similarity`; equal ones are duplicates in any case.
        keep_per_prompt: samples kept of one question; 0: all.
        prefer: which of a question's samples these are, and stay of near-duplicates: "first" drawn, which is as good as
            drawing lots; "shortest", in tokens.
    """

    form: Literal["strict", "parts", "any"] = "strict"
    min_score: float = 1.0
    language: float = 0.9
    paragraph_words: int = 300
    code: bool = False
    repetition: float = 0.2
    repetition_ngram: int = 20
    min_tokens: int = 0
    max_tokens: int = 0
    near_duplicate: float = 0.8
    keep_per_prompt: int = 4
    prefer: Literal["first", "shortest"] = "first"

    def __post_init__(self):
        at_least(0, self, "paragraph_words", "min_tokens", "max_tokens", "keep_per_prompt")
        at_least(1, self, "repetition_ngram")
        within("[0, 1]", self, "min_score", "language", "repetition", "near_duplicate")
        if self.max_tokens and self.max_tokens < self.min_tokens:
            raise ValueError(f"max_tokens={self.max_tokens} is less than min_tokens={self.min_tokens}")


class Reason(NamedTuple):
    """Why a sample is not kept: a name of `REASONS`, and what was found."""

    name: str
    detail: str


def truncated(rollout: Rollout, cfg: FilterConfig) -> str | None:
    """Cut off by the budget."""
    return f"cut off after {len(rollout.ids)} tokens" if rollout.finish == "length" else None


def malformed(rollout: Rollout, cfg: FilterConfig) -> str | None:
    """Not in its form."""
    response = rollout.response
    if cfg.form == "strict":
        return None if response.well_formed else "not exactly one thought and one summary"
    if not response.final:
        return "no summary"
    return "no thought" if cfg.form == "parts" and not response.thought else None


def ungradable(rollout: Rollout, cfg: FilterConfig) -> str | None:
    """Without a grade."""
    return f"verdict {rollout.verdict}" if rollout.parts["accuracy"] is None else None


def wrong(rollout: Rollout, cfg: FilterConfig) -> str | None:
    """Graded too low."""
    score = rollout.parts["accuracy"]
    return f"verdict {rollout.verdict}, score {score:g}" if score < cfg.min_score else None


def mixed_languages(rollout: Rollout, cfg: FilterConfig) -> str | None:
    """A thought that is not in the question's language. One without words, say of equations alone, is in any."""
    target = language_of(rollout.prompt)
    if not cfg.language or not target:
        return None
    share = language_consistency.consistency(rollout, target)
    if share >= cfg.language or not traits.words(rollout.response.thought):
        return None
    return f"{share:.0%} of the thought's words are {target}"


def long_paragraph(rollout: Rollout, cfg: FilterConfig) -> str | None:
    """A thought that is not set in paragraphs."""
    longest = max(len(overlap.words(overlap.tokens(line))) for line in rollout.response.thought.split("\n"))
    return f"{longest} words without a line break" if 0 < cfg.paragraph_words < longest else None


def code_in_thought(rollout: Rollout, cfg: FilterConfig) -> str | None:
    """A thought with a code block: a fence, an HTML tag for code, or three lines of code in a row."""
    return None if cfg.code else code_block(rollout.response.thought)


def code_block(text: str) -> str | None:
    """The first line of the first block of code; None: there is none.

    Without a fence it takes three lines in a row, blank ones aside, one of which can be nothing else.
    """
    if fence := _CODE_TAG.search(text):
        return text[fence.start() :].strip().split("\n")[0][:80]
    first, count, certain = "", 0, False
    for line in filter(None, map(str.strip, text.split("\n"))):
        short = len(line) <= _LONGEST_LINE
        sure = short and bool(_CODE_LINE.fullmatch(line))
        if not sure and not (short and _PERHAPS_CODE.fullmatch(line)):
            count, certain = 0, False
            continue
        first, count, certain = first if count else line, count + 1, certain or sure
        if certain and count >= _CODE_LINES:
            return first[:80]
    return None


def repetition(rollout: Rollout, cfg: FilterConfig) -> str | None:
    """A loop."""
    share = -form.repetition_penalty(rollout.text, cfg.repetition_ngram)
    return f"{share:.0%} of it came before" if 0 < cfg.repetition < share else None


def too_long(rollout: Rollout, cfg: FilterConfig) -> str | None:
    """More tokens than allowed."""
    return f"{len(rollout.ids)} tokens" if 0 < cfg.max_tokens < len(rollout.ids) else None


def too_short(rollout: Rollout, cfg: FilterConfig) -> str | None:
    """Fewer tokens than allowed."""
    return f"{len(rollout.ids)} tokens" if len(rollout.ids) < cfg.min_tokens else None


# Each says what it found, or None. The order is that of the table: a sample has the first reason that holds.
FILTERS = (
    truncated,
    malformed,
    ungradable,
    wrong,
    mixed_languages,
    long_paragraph,
    code_in_thought,
    repetition,
    too_long,
    too_short,
)
# Those that depend on other samples come last, see `choose`.
REASONS = (*(each.__name__ for each in FILTERS), "duplicate", "near_duplicate", "over_quota")


def first_reason(rollout: Rollout, cfg: FilterConfig) -> Reason | None:
    """Why a sample is not kept, whatever the others are; `rollout.parts` holds its accuracy. None: it may be kept."""
    for each in FILTERS:
        if found := each(rollout, cfg):
            return Reason(each.__name__, found)
    return None


def first_reasons(rollouts: Sequence[Rollout], cfg: FilterConfig) -> list[Reason | None]:
    """`first_reason` of several."""
    return [first_reason(rollout, cfg) for rollout in rollouts]


def choose(rollouts: Sequence[Rollout], cfg: FilterConfig, seen: set[bytes]) -> dict[int, Reason]:
    """Which samples of one question, all of them fit, are dropped for the others' sake.

    Args:
        rollouts: in the order in which they were drawn.
        seen: digests of all questions with their kept samples so far; grows by those kept here.

    Returns:
        sample index -> reason.
    """
    dropped: dict[int, Reason] = {}
    kept: list[tuple[int, frozenset]] = []
    for rollout in sorted(rollouts, key=lambda r: len(r.ids)) if cfg.prefer == "shortest" else rollouts:
        digest = overlap.digest(f"{rollout.prompt.question}\n{rollout.text}")
        pieces = _pieces(rollout.text)
        nearest = max(((overlap.similarity(pieces, other), index) for index, other in kept), default=(0.0, -1))
        if digest in seen:
            reason = Reason("duplicate", "the same text as one that is kept")
        elif 0 < cfg.near_duplicate <= nearest[0]:
            reason = Reason("near_duplicate", f"shares {nearest[0]:.0%} with sample {nearest[1]}")
        elif 0 < cfg.keep_per_prompt <= len(kept):
            reason = Reason("over_quota", f"{len(kept)} are kept")
        else:
            seen.add(digest)
            kept.append((rollout.sample, pieces))
            continue
        dropped[rollout.sample] = reason
    return dropped


def _pieces(text: str) -> frozenset:
    """Its runs of five words and symbols; a shorter text is one run."""
    tokens = overlap.tokens(text)
    return frozenset(overlap.ngrams(tokens, _PIECES)) or frozenset([tuple(tokens)])


def language_of(prompt: Prompt) -> str:
    """The language that a question is to be thought about in: what its row says, else the question's own; "": none."""
    given = prompt.metadata.get("language")
    return given if given in _languages() else language_consistency.language_of(prompt.question)


@functools.cache
def _languages() -> frozenset[str]:
    return frozenset(code for codes in language_consistency.LANGUAGES.values() for code in codes)
