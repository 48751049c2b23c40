"""Templates and tags: the only file that knows how a prompt is dressed and how a response is taken apart."""

import dataclasses
import re

# The prompt of DeepSeek-R1-Zero (arXiv 2501.12948, Table 1). It fixes the structure and says nothing of the content.
R1_ZERO_TEMPLATE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, "
    "i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
    "User: {prompt}. Assistant:"
)
TEMPLATES = {"r1_zero": R1_ZERO_TEMPLATE, "plain": "{prompt}"}
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

_WELL_FORMED = re.compile(r"\s*<think>(?P<thought>.*?)</think>\s*<answer>(?P<answer>.*?)</answer>\s*", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Response:
    """A completion taken apart.

    Attributes:
        thought: what stands inside the thinking tags; "" when there is none.
        final: what stands outside the thought: the answer tag's content, or the whole text where tags are missing.
            The contents of several answer tags are joined by newlines.
        answers: each answer tag's content outside the thought, in order, so that a grader can see them disagree.
        well_formed: exactly one thought, then exactly one answer, nothing else but white space, neither empty.
    """

    thought: str
    final: str
    answers: tuple[str, ...]
    well_formed: bool


def render(template: str, question: str) -> str:
    """Dresses a question in a named template.

    Raises:
        ValueError: no such template.
    """
    if template not in TEMPLATES:
        raise ValueError(f"no template named {template!r}; there are: {', '.join(sorted(TEMPLATES))}")
    # str.replace, not str.format: questions hold braces of their own.
    return TEMPLATES[template].replace("{prompt}", question)


def split_response(text: str) -> Response:
    """Splits a completion into its thought and its final part, in time linear in its length.

    A thought that never closes has no final part after it: nothing in it was given as an answer.
    """
    match = all(text.count(tag) == 1 for tag in TAGS) and _WELL_FORMED.fullmatch(text)
    if match:
        thought, final = match["thought"].strip(), match["answer"].strip()
        return Response(thought, final, (final,), bool(thought and final))
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
