"""Templates and tags: the only file that knows how a prompt is rendered and how a response is split into parts."""

import dataclasses
import re
import unicodedata

import regex  # it knows classes of characters, which re does not

# The prompt of DeepSeek-R1-Zero (arXiv 2501.12948, Table 1). It fixes the structure and says nothing of the content.
R1_ZERO_TEMPLATE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, "
    "i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
    "User: {prompt}. Assistant:"
)
TEMPLATES = {"r1_zero": R1_ZERO_TEMPLATE, "dialogue": "User: {prompt} Assistant:", "plain": "{prompt}"}
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

_WELL_FORMED = re.compile(r"\s*<think>(?P<thought>.*?)</think>\s*<answer>(?P<answer>.*?)</answer>\s*", re.DOTALL)
# Variants of the tags that a lenient reader accepts: any case, blanks, other brackets.
_TAG_LIKE = re.compile(r"[<‹«〈⟨《]\s{0,3}/?\s{0,3}(?:think|answer)\s{0,3}/?\s{0,3}[>›»〉⟩》]", re.IGNORECASE)
_CYRILLIC_TWINS = str.maketrans("асеікоѕһԝ", "aceikoshw")
_INVISIBLE = regex.compile(r"[\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]+")


@dataclasses.dataclass(frozen=True)
class Response:
    """The parts of a completion.

    Attributes:
        thought: the content of the thinking tags; "" when there is none.
        final: the text outside the thought: the answer tag's content, or the whole text where tags are missing.
            The contents of several answer tags are joined by newlines.
        answers: each answer tag's content outside the thought, in order, so that a grader can see them disagree.
        well_formed: exactly one thought, then exactly one answer, nothing else but white space, neither empty to the
            eye, and nothing in them that looks like a tag.
    """

    thought: str
    final: str
    answers: tuple[str, ...]
    well_formed: bool


def render(template: str, question: str) -> str:
    """Renders a question in a named template.

    Raises:
        ValueError: no such template.
    """
    if template not in TEMPLATES:
        raise ValueError(f"no template named {template!r}; there are: {', '.join(sorted(TEMPLATES))}")
    # str.replace, not str.format: questions hold braces of their own.
    return TEMPLATES[template].replace("{prompt}", question)


def plain(text: str) -> str:
    """Without disguises: full-width and mathematical letters as ordinary ones, invisible characters left out."""
    return text if text.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))


def opening_tag(prompt: str, marker: str = "") -> str:
    """The tag with which a rendered prompt opens the thought, as DeepSeek-R1's template does; "": it opens none.

    Args:
        marker: of the cold-start format, see `split_response`; then the marker would open the thought.
    """
    tag = marker or TAGS[0]
    return tag if prompt.rstrip().endswith(tag) else ""


def whole_response(prompt: str, text: str, marker: str = "") -> str:
    """A completion with the tag that its prompt has opened for it, as graders read it.

    Cut short in that thought, such a response has no final part.
    """
    tag = opening_tag(prompt, marker)
    return tag + text if tag and not text.lstrip().startswith(tag) else text


def continuation(prompt: str, response: str) -> str:
    """A whole response as it follows its prompt: without the tag and the blanks that the prompt ends with."""
    tag = opening_tag(prompt)
    if not tag or not response.lstrip().startswith(tag):
        return response
    return response.lstrip().removeprefix(tag).removeprefix(prompt[len(prompt.rstrip()) :])


def join_response(thought: str, final: str, marker: str = "") -> str:
    """A well-formed completion of a thought and a final part, the inverse of `split_response`.

    Args:
        marker: of the cold-start format `<marker>thought<marker>summary`; "": the format of the tags.
    """
    if marker:
        return f"{marker} {thought.strip()} {marker} {final.strip()}"  # blanks: so that words keep their usual tokens
    return f"<think> {thought.strip()} </think> <answer> {final.strip()} </answer>"


def split_response(text: str, marker: str = "") -> Response:
    """Splits a completion into its thought and its final part, in time linear in its length.

    A thought that never closes has no final part after it: nothing in it was given as an answer.

    Args:
        marker: of the format `<marker>thought<marker>summary`, as in the paper's cold start; "": that of the tags.
    """
    if marker:
        return _split_at(marker, text)
    match = all(text.count(tag) == 1 for tag in TAGS) and _WELL_FORMED.fullmatch(text)
    if match:
        thought, final = match["thought"].strip(), match["answer"].strip()
        return Response(thought, final, (final,), _can_be_seen(thought, final) and not _holds_a_tag(thought, final))
    head, close, tail = text.rpartition("</think>")
    if close:
        thought, outside = head.partition("<think>")[2] or head, tail.partition("<think>")[0]
    elif "<think>" in text:
        thought, outside = text.partition("<think>")[2], ""
    else:
        thought, outside = "", text
    # No regular expression here: over a run of unclosed <answer> tags it would take quadratic time.
    closed = [piece.partition("<answer>") for piece in outside.split("</answer>")[:-1]]
    answers = tuple(content.strip() for _, tag, content in closed if tag)
    return Response(thought.strip(), "\n".join(answers) if answers else outside.strip(), answers, False)


def find_response(text: str, continued: bool) -> Response:
    """The response within the reply of a model that was asked for the tags, and may have written more.

    Args:
        continued: the model continues texts and may not stop in time (it may pose another question after the answer):
            the text after the first answer is left out. Else it is a chat model, and may have thought in tags of its
            own before it used the requested ones: the last thought counts.

    Returns:
        `well_formed` where such tags are found; else the whole reply as `split_response` reads it.
    """
    if continued:
        answer, closes, _ = text.partition("</answer>")
        return split_response(answer + closes)
    last = split_response(text[max(text.rfind("<think>"), 0) :])
    return last if last.well_formed else split_response(text)


def _split_at(marker: str, text: str) -> Response:
    before, *parts = text.split(marker)
    if not parts:
        return Response("", text.strip(), (), False)
    thought, final = marker.join(parts[:-1]).strip(), parts[-1].strip()
    if len(parts) == 1:  # opened and never closed
        return Response(final, "", (), False)
    return Response(thought, final, (), len(parts) == 2 and not before.strip() and _can_be_seen(thought, final))


def _can_be_seen(*texts: str) -> bool:
    return all(plain(text).strip() for text in texts)


def _holds_a_tag(*texts: str) -> bool:
    return any(_TAG_LIKE.search(plain(text).translate(_CYRILLIC_TWINS)) for text in texts)
