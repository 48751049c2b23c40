"""Sample filters: response format, language, repetition, length, code blocks, duplicates; each with a reason.

Rejection sampling (arXiv 2501.12948, section 2.3.3) and the cold start (2.3.1) share these checks; `REJECTION_CHECKS`
and `COLD_START_CHECKS` have their order, their reasons and their thresholds.

The paper keeps what is right and drops mixed languages, long paragraphs and code blocks in the thought; it gives no
thresholds. The defaults of the configs are r1jax's choice, and so are the checks of form, length, repetition and
duplicates. Of 331 thoughts of other models (Marco-o1, HuatuoGPT-o1, R1's distillates) those of rejection sampling drop
12: 7 in English about a Chinese question, 4 with a code block, 1 with a long paragraph. No jax: the checks run in
processes of their own, at some 50,000 words a second in each.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from r1jax.data.types import Rollout
from r1jax.rewards.format_rewards import repetition_penalty
from r1jax.rewards.language_consistency import LANGUAGES, language_of, share_in_language
from r1jax.text import normalized_overlap
from r1jax.text.chat import Response, join_response, split_response
from r1jax.text.reflection_and_scripts import words

if TYPE_CHECKING:
    from r1jax.stages.cold_start.config import ReadableConfig
    from r1jax.stages.rejection.config import FilterConfig

_NGRAM_OF_NEAR_DUPLICATES = 5  # words and symbols in a row, of which two near-duplicates share most
_CODE_LINES = 3  # in a row that count as code without a fence
_LONGEST_LINE = 400  # characters of a line that may be code; patterns take their time over a long one
_CODE_TAG = re.compile(r"^[ \t]*(?:```|~~~)|<(?:pre|code)\b[^<>\n]{0,99}>", re.MULTILINE | re.IGNORECASE)
# Lines of the languages that models write most: Python, C and its kin, JavaScript. Lower case, as sentences begin with
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
# Lines that may be code or formulas, and count between lines of code: x = 5, f(3).
_PERHAPS_CODE = re.compile(r"[\w.\[\]]+ ?(?:[-+*/|&%]|//|\*\*)?= ?[^\\]+|[\w.]+\([^\\]*\);?|[^\\]+;|#.*")


class Reason(NamedTuple):
    """Why a sample is dropped.

    Attributes:
        name: a key of the stage's checks, or one of `SELECTION_REASONS`.
        detail: the finding as a phrase, for example the share of repeated words.
    """

    name: str
    detail: str


class ThoughtAndSummary(NamedTuple):
    """A thought and its summary before they are joined into a response; what the cold start's checks read.

    Attributes:
        language: that they are to be written in; "": unknown, and not checked.
        marker: of the response format that they are to be joined in, see `join_response`.
    """

    question: str
    thought: str
    summary: str
    language: str
    marker: str


# Checks. Each gives its finding, or None where the text passes.


def malformed(response: Response, form: Literal["strict", "parts", "any"]) -> str | None:
    """A response that is not in the form that `FilterConfig.form` asks for."""
    if form == "strict":
        return None if response.well_formed else "not exactly one thought and one summary"
    if not response.final:
        return "no summary"
    return "no thought" if form == "parts" and not response.thought else None


def unjoinable(parts: ThoughtAndSummary) -> str | None:
    """A thought and a summary that the response format would not give back as they are."""
    thought, summary = parts.thought.strip(), parts.summary.strip()
    response = split_response(join_response(thought, summary, parts.marker), parts.marker)
    if response.well_formed and (response.thought, response.final) == (thought, summary):
        return None
    return "joined, they are read as another thought and summary"


def low_score(score: float, verdict: str, least: float) -> str | None:
    """A grade below the least that is kept."""
    return f"verdict {verdict}, score {score:g}" if score < least else None


def other_language(question: str, text: str, language: str, least: float) -> str | None:
    """A text of which less than `least` of the words are in a language. A text without words (equations) passes.

    Args:
        language: "": unknown, and not checked.
        least: 0 turns the check off.
    """
    if not language or not least or not words(text):
        return None
    share = share_in_language(question, text, language)
    return None if share >= least else f"{share:.0%} of the thought's words are {language}"


def repetition(text: str, ngram: int, most: float) -> str | None:
    """A loop: more than the share `most` of the runs of `ngram` words have occurred before."""
    share = -repetition_penalty(text, ngram)
    return f"{share:.0%} of it came before" if share > most else None


def long_paragraph(text: str, most: int) -> str | None:
    """More than `most` words between two line breaks, each Chinese character being one; 0 turns the check off."""
    longest = max(len(normalized_overlap.words(normalized_overlap.tokens(line))) for line in text.split("\n"))
    return f"{longest} words without a line break" if 0 < most < longest else None


def code_block(text: str) -> str | None:
    """A block of code, as its first line: behind a fence, in an HTML tag for code, or three lines of code in a row.

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


def too_long(size: int, most: int, unit: str) -> str | None:
    """More than `most`; 0 turns the check off."""
    return f"{size} {unit}" if 0 < most < size else None


def too_short(size: int, least: int, unit: str) -> str | None:
    """Fewer than `least`."""
    return f"{size} {unit}" if size < least else None


# The order is that of the tables: a sample is dropped for the first reason that holds.
REJECTION_CHECKS: Mapping[str, Callable[[Rollout, "FilterConfig"], str | None]] = {
    "truncated": lambda rollout, cfg: (
        f"cut off after {len(rollout.ids)} tokens" if rollout.finish == "length" else None
    ),
    "malformed": lambda rollout, cfg: malformed(rollout.response, cfg.form),
    "ungradable": lambda rollout, cfg: f"verdict {rollout.verdict}" if rollout.parts["accuracy"] is None else None,
    "wrong": lambda rollout, cfg: low_score(rollout.parts["accuracy"], rollout.verdict, cfg.min_score),
    "mixed_languages": lambda rollout, cfg: other_language(
        rollout.prompt.question,
        rollout.response.thought,
        language_for(rollout.prompt.question, rollout.prompt.metadata),
        cfg.language,
    ),
    "long_paragraph": lambda rollout, cfg: long_paragraph(rollout.response.thought, cfg.paragraph_words),
    "code_in_thought": lambda rollout, cfg: None if cfg.code else code_block(rollout.response.thought),
    "repetition": lambda rollout, cfg: repetition(rollout.text, cfg.repetition_ngram, cfg.repetition or 1.0),
    "too_long": lambda rollout, cfg: too_long(len(rollout.ids), cfg.max_tokens, "tokens"),
    "too_short": lambda rollout, cfg: too_short(len(rollout.ids), cfg.min_tokens, "tokens"),
}
INCOMPLETE = "without a thought or an answer"
COLD_START_CHECKS: Mapping[str, Callable[[ThoughtAndSummary, "ReadableConfig"], str | None]] = {
    INCOMPLETE: lambda parts, cfg: None if parts.thought.strip() and parts.summary.strip() else "one is empty",
    "holds the marker": lambda parts, cfg: (
        repr(parts.marker) if parts.marker and any(parts.marker in text for text in parts[1:3]) else None
    ),
    "does not fit the form": lambda parts, cfg: unjoinable(parts),
    "broken characters": lambda parts, cfg: "U+FFFD" if "\ufffd" in parts.thought + parts.summary else None,
    "thought too short": lambda parts, cfg: too_short(len(parts.thought), cfg.min_chars, "characters"),
    "thought too long": lambda parts, cfg: too_long(len(parts.thought), cfg.max_chars, "characters"),
    "summary too long": lambda parts, cfg: too_long(len(parts.summary), cfg.max_summary_chars, "characters"),
    "repeats itself": lambda parts, cfg: repetition(parts.thought, cfg.repetition_ngram, cfg.repetition),
    "no words in the thought": lambda parts, cfg: (
        "numbers and symbols alone" if parts.language and not words(parts.thought) else None
    ),
    "not in the question's language": lambda parts, cfg: (
        other_language(parts.question, parts.thought, parts.language, cfg.language)
        or other_language(parts.question, parts.summary, parts.language, cfg.language)
    ),
}


def rejection_reason(rollout: Rollout, cfg: "FilterConfig") -> Reason | None:
    """Why a sample of rejection sampling is dropped for its own content; None: it may be kept.

    Args:
        rollout: graded, its accuracy in `parts`.
    """
    return _first_reason(REJECTION_CHECKS, rollout, cfg)


def rejection_reasons(rollouts: Sequence[Rollout], cfg: "FilterConfig") -> list[Reason | None]:
    """`rejection_reason` of several."""
    return [rejection_reason(rollout, cfg) for rollout in rollouts]


def cold_start_reason(parts: ThoughtAndSummary, cfg: "ReadableConfig") -> Reason | None:
    """Why a sample of the cold start is dropped for its own content; None: it may be kept."""
    return _first_reason(COLD_START_CHECKS, parts, cfg)


def _first_reason(checks: Mapping[str, Callable[[Any, Any], str | None]], sample: Any, cfg: Any) -> Reason | None:
    for name, check in checks.items():
        if detail := check(sample, cfg):
            return Reason(name, detail)
    return None


# Reasons that depend on the other samples.
SELECTION_REASONS = ("duplicate", "near_duplicate", "over_quota")
REJECTION_REASONS = (*REJECTION_CHECKS, *SELECTION_REASONS)


class Selection:
    """The samples of a stage so far: which new one is a duplicate of them, or exceeds its question's quota.

    Args:
        per_question: samples kept of a question; 0: all.
        near_duplicate: the largest similarity (`text.normalized_overlap.similarity`, of runs of five words and symbols)
            to another sample of the question, 0 to 1; 0 turns the check off.
        keys: of the samples kept so far, in other selections too; grows by those that this one keeps.
    """

    def __init__(self, per_question: int, near_duplicate: float = 0.0, keys: set[Hashable] | None = None):
        self._per_question, self._near_duplicate = per_question, near_duplicate
        self._keys = set() if keys is None else keys
        self._count: Counter[Hashable] = Counter()
        self._ngrams: defaultdict[Hashable, list[tuple[int, frozenset]]] = defaultdict(list)

    def add(self, question: Hashable, key: Hashable, text: str = "", sample: int = 0) -> Reason | None:
        """Keeps a sample, or gives the reason why not.

        Args:
            question: equal for the samples of one question.
            key: equal for duplicates.
            text: for near-duplicates.
            sample: its index, for the reason of others.
        """
        ngrams = _ngrams(text) if self._near_duplicate else frozenset()
        nearest = max(
            ((normalized_overlap.similarity(ngrams, other), index) for index, other in self._ngrams[question]),
            default=(0.0, -1),
        )
        if key in self._keys:
            return Reason("duplicate", "the same text as one that is kept")
        if 0 < self._near_duplicate <= nearest[0]:
            return Reason("near_duplicate", f"shares {nearest[0]:.0%} with sample {nearest[1]}")
        if 0 < self._per_question <= self._count[question]:
            return Reason("over_quota", f"{self._count[question]} are kept")
        self._keys.add(key)
        self._count[question] += 1
        if self._near_duplicate:
            self._ngrams[question].append((sample, ngrams))
        return None


def _ngrams(text: str) -> frozenset:
    """A text's runs of five words and symbols; a shorter text is one run."""
    tokens = normalized_overlap.tokens(text)
    return frozenset(normalized_overlap.ngrams(tokens, _NGRAM_OF_NEAR_DUPLICATES)) or frozenset([tuple(tokens)])


def select(rollouts: Iterable[Rollout], cfg: "FilterConfig", keys: set[Hashable]) -> dict[int, Reason]:
    """Which samples of one question, all of them fit, are dropped because of the others.

    Args:
        rollouts: in the order in which they were drawn.
        keys: of all questions' kept samples so far; grows by those kept here.

    Returns:
        sample index -> reason.
    """
    selection = Selection(cfg.keep_per_prompt, cfg.near_duplicate, keys)
    dropped = {}
    for rollout in sorted(rollouts, key=lambda r: len(r.ids)) if cfg.prefer == "shortest" else rollouts:
        key = normalized_overlap.digest(f"{rollout.prompt.question}\n{rollout.text}")
        if reason := selection.add("", key, rollout.text, rollout.sample):
            dropped[rollout.sample] = reason
    return dropped


def language_for(question: str, metadata: Mapping[str, Any]) -> str:
    """The language that a question is to be thought about and answered in; "": unknown.

    Args:
        metadata: of the question's row; its `language`, if it is one of `LANGUAGES`, counts before the question's own.
    """
    named = metadata.get("language")
    return named if any(named in languages for languages in LANGUAGES.values()) else language_of(question)
