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
        well_formed: exactly one thought, then exactly one answer, nothing else but white space, neither empty.
    """

    thought: str
    final: str
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
    """Splits a completion into its thought and its final part.

    A thought that never closes leaves no final part: nothing in it was given as an answer. Of several answer tags
    outside the thought all are kept, joined by newlines, so that a grader sees the conflict.
    """
    match = _WELL_FORMED.fullmatch(text)
    if match and all(text.count(tag) == 1 for tag in TAGS):
        thought, final = match["thought"].strip(), match["answer"].strip()
        return Response(thought, final, bool(thought and final))
    head, close, tail = text.rpartition("</think>")
    if close:
        thought, outside = head.partition("<think>")[2] or head, tail
    elif "<think>" in text:
        thought, outside = text.partition("<think>")[2], ""
    else:
        thought, outside = "", text
    answers = re.findall(r"<answer>(.*?)</answer>", outside, re.DOTALL)
    return Response(thought.strip(), ("\n".join(answers) if answers else outside).strip(), False)
