"""Decontamination: the questions that models are evaluated on, kept out of what they are trained on.

The rule of DeepSeek-R1 (arXiv 2501.12948): a text that shares a run of n words with an evaluation's question is left
out. A question of fewer than n words has no such run, and is searched for as a whole.

Set phrases are runs too: of AIME's 975 problems of 1983 to 2023, 123 collide with MATH-500, 111 of them by "m/n, where
m and n are relatively prime positive integers. Find m"; 6 are copies, which share over nine tenths of a question's
runs. Translations and paraphrases are not found.
"""

import collections
import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from r1jax.config import at_least, within
from r1jax.text.normalized_overlap import ngrams, tokens, words

_SHORTEST_INSIDE = 8  # characters, of a question that is looked for inside others: "1+1=?" is in too many


@dataclasses.dataclass(frozen=True)
class DecontaminateConfig:
    """The evaluations whose questions are left out.

    Attributes:
        against: files of questions, or names of `r1jax.benchmarks`; see `r1jax.benchmarks.reading.questions`.
        data: the folder that holds the benchmarks' files.
        ngram: words in a row that make a run; each Chinese character is one.
        share: of a question's runs, that are too many to share; 0: a single one is, as in the paper. From about 0.5 on
            set phrases pass and copies do not.
    """

    against: tuple[str, ...] = ()
    data: str = ""
    ngram: int = 13
    share: float = 0.0

    def __post_init__(self):
        at_least(1, self, "ngram")
        within("[0, 1]", self, "share")


class Collision(NamedTuple):
    """The overlap of a text with an evaluation's question, the one that it shares most with.

    Attributes:
        id: of the question.
        shared: the first run of words that both have; the whole question where it is short.
        share: of the question's runs that are in the text, in (0, 1].
    """

    id: str
    shared: str
    share: float


class Index:
    """Evaluations' questions, to look texts up in: some 100 bytes a word in memory, and time linear in a text's length.

    A run that several questions have counts for the first. Two different runs have one hash, and are taken for each
    other, about once in 10^12 look-ups.
    """

    def __init__(self, questions: Iterable[tuple[str, str]], ngram: int):
        """Reads all questions.

        Args:
            questions: (id, text) of each.
            ngram: see `DecontaminateConfig`.
        """
        self._ngram = ngram
        self._runs: dict[int, str] = {}  # hash -> question's id
        self._sizes: dict[str, int] = {}  # question's id -> its runs
        # Short questions without white space: whole, and by their first characters.
        self._whole: dict[str, str] = {}
        self._inside: dict[str, list[tuple[str, str]]] = {}
        for id_, text in questions:
            pieces = tokens(text)
            runs = {hash(run) for run in ngrams(words(pieces), ngram)}
            self._sizes[id_] = len(runs)
            for run in runs:
                self._runs.setdefault(run, id_)
            if not runs:
                squeezed = "".join(pieces)
                self._whole.setdefault(squeezed, id_)
                if len(squeezed) >= _SHORTEST_INSIDE:
                    self._inside.setdefault(squeezed[:_SHORTEST_INSIDE], []).append((squeezed, id_))

    def collision(self, text: str, share: float = 0.0) -> Collision | None:
        """The overlap of a text with a question; None: nothing, or less than `share` of the question's runs.

        A short question is found between words, wherever white space stands: `1 + 1 = 2?` is not in `11 + 1 = 2?`.
        """
        pieces = tokens(text)
        first: dict[str, str] = {}
        hits: collections.Counter[str] = collections.Counter()
        for run in dict.fromkeys(ngrams(words(pieces), self._ngram)):
            if id_ := self._runs.get(hash(run)):
                hits[id_] += 1
                first.setdefault(id_, " ".join(run))
        collisions = [Collision(id_, first[id_], count / self._sizes[id_]) for id_, count in hits.items()]
        best = max(collisions, key=lambda each: (each.share, each.id), default=None)
        return best if best and best.share >= share else self._short(pieces)

    def _short(self, pieces: list[str]) -> Collision | None:
        """A question of fewer words than a run has that is these pieces, or stands among them."""
        squeezed = "".join(pieces)
        if id_ := self._whole.get(squeezed):
            return Collision(id_, squeezed, 1.0)
        if not self._inside:
            return None
        ends = [0]
        for piece in pieces:
            ends.append(ends[-1] + len(piece))
        borders = frozenset(ends)
        for start in ends:
            for question, id_ in self._inside.get(squeezed[start : start + _SHORTEST_INSIDE], ()):
                if squeezed.startswith(question, start) and start + len(question) in borders:
                    return Collision(id_, question, 1.0)
        return None
