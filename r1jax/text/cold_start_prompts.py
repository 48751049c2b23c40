"""Prompts that ask for long chains of thought (arXiv 2501.12948, section 2.3.1), in the question's language.

They are r1jax's own: the paper does not print its prompts.

Whatever the format of the data that is made, teachers are asked for the R1-Zero tags: base models and reasoning models
know them. Questions in languages other than English and Chinese are asked in English.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from r1jax.text.chat import TAGS, join_response

# A chat model reads what the examples are for; a base model continues them, and that is all there is.
FEW_SHOT = {
    "en": "Answer the last question as the one before it is answered: think at the same length and in the same manner "
    "between <think> and </think>, and then sum up for the reader between <answer> and </answer>, with the final "
    "answer in \\boxed{}. Write in the language of that question.\n\n{examples}",
    "zh": "请仿照前面的示例回答最后一个问题：先在<think>与</think>之间用同样的篇幅和方式思考，再在<answer>与</answer>"
    "之间为读者写出总结，最终答案放在\\boxed{}中。请用中文。\n\n{examples}",
}
EXAMPLE = {"en": "Q: {prompt}\nA: {response}", "zh": "问：{prompt}\n答：{response}"}

DIRECT = {
    "en": "Solve the problem below. First think between <think> and </think>, at length: go step by step, reflect on "
    "what you have found, say where you were wrong and mend it, and verify the result in a second way before you trust "
    "it. Then write a summary for the reader between <answer> and </answer>: how it is solved, and the final answer in "
    "\\boxed{}. Write in the language of the problem, and nothing outside the tags.\n\n{prompt}",
    "zh": "请解答下面的问题。先在<think>与</think>之间详细思考：逐步推理，反思已得到的结果，发现错误就指出并改正，"
    "最后换一种方法验证，再确信结论。然后在<answer>与</answer>之间为读者写一段总结：解题方法，以及放在\\boxed{}中的"
    "最终答案。请用中文，标签之外不要写任何内容。\n\n{prompt}",
}

REWRITE = {
    "en": "Below are a question and rough notes that reach its right answer. Rewrite the notes so that they read well: "
    "whole sentences in one language, a paragraph for each step, nothing said twice. Keep the course of the thinking, "
    "its doubts, mistakes and checks, and add no step of your own. Put the rewritten notes between <think> and "
    "</think>, and then, between <answer> and </answer>, a short summary that ends in the same final answer, in "
    "\\boxed{}. Write in the language of the question, and nothing outside the tags.\n\n"
    "Question:\n{prompt}\n\nNotes:\n{thought}\n\nFinal answer:\n{answer}",
    "zh": "下面是一个问题，以及得出正确答案的草稿。请把草稿改写得易读：只用一种语言，句子完整，每一步一段，不要重复。"
    "保留思考的过程，包括其中的疑问、错误和检验，不要添加自己的步骤。改写后的草稿放在<think>与</think>之间，然后在"
    "<answer>与</answer>之间写一段简短的总结，以相同的最终答案结尾，并放在\\boxed{}中。请用中文，标签之外不要写任何"
    "内容。\n\n问题：\n{prompt}\n\n草稿：\n{thought}\n\n最终答案：\n{answer}",
}

# What a summary by rule says. In other languages the answer stands alone.
SUMMARY = {"en": "The answer is \\boxed{{answer}}.", "zh": "答案是\\boxed{{answer}}。"}


@dataclasses.dataclass(frozen=True)
class Example:
    """A worked example, to be imitated."""

    prompt: str
    thought: str
    summary: str


EXAMPLES = {
    "en": (
        Example(
            "A shop sells pens at 3 dollars each and notebooks at 5 dollars each. Tom buys 8 things for 34 dollars. "
            "How many notebooks does he buy?",
            "Let me name what I do not know. Say Tom buys n notebooks. He buys 8 things in all, so he buys 8 - n pens."
            "\n\nThe notebooks cost 5n dollars and the pens 3(8 - n) dollars. Together that is 34:\n5n + 3(8 - n) = 34."
            "\n\nMultiplied out: 5n + 24 - n = 34, so 4n = 10 and n = 2.5. Hmm, half a notebook cannot be. Let me look "
            "again. 3(8 - n) is 24 - 3n, not 24 - n: I forgot to multiply the second term.\n\nOnce more: "
            "5n + 24 - 3n = 34, so 2n = 10 and n = 5.\n\nLet me check it in another way. If all 8 things were pens, "
            "they would cost 24 dollars. Each notebook instead of a pen adds 2 dollars. 34 - 24 = 10 dollars are to be "
            "added, which takes 10 / 2 = 5 notebooks. And directly: 5 notebooks are 25 dollars, 3 pens are 9 dollars, "
            "25 + 9 = 34. It fits.",
            "With n notebooks and 8 - n pens the price is 5n + 3(8 - n) = 34, so 2n = 10 and n = 5. Tom buys "
            "\\boxed{5} notebooks.",
        ),
    ),
    "zh": (
        Example(
            "一个水池有甲、乙两根进水管，单开甲管6小时注满，单开乙管3小时注满。两管同时打开，几小时注满？",
            "先想清楚每根管子一小时注多少水。甲管6小时注满，所以每小时注水池的1/6；乙管3小时注满，所以每小时注1/3。\n\n"
            "直觉上也许会取平均，(6 + 3) / 2 = 4.5小时。等一下，这不对：单开乙管只要3小时，两管一起怎么会更慢？应该"
            "把速度相加，而不是把时间平均。\n\n两管同时打开，每小时注1/6 + 1/3 = 1/6 + 2/6 = 3/6 = 1/2。每小时注一半，"
            "所以需要1 ÷ 1/2 = 2小时。\n\n再检验一下：2小时内甲管注2/6 = 1/3，乙管注2/3，合起来1/3 + 2/3 = 1，"
            "正好注满。",
            "甲管每小时注1/6，乙管每小时注1/3，合起来每小时注1/2，所以同时打开需要\\boxed{2}小时注满。",
        ),
    ),
}


def in_language(texts: Mapping[str, str], language: str) -> str:
    """The text in that language, or else in English."""
    return texts.get(language, texts["en"])


def few_shot(question: str, examples: Sequence[Example], language: str, chat: bool) -> str:
    """The examples and then the question, for a chat model or for one that continues texts.

    For the latter the thought is opened already, as in the examples: `Rollout.whole` knows of it.
    """
    form = in_language(EXAMPLE, language)
    filled = [fill(form, prompt=e.prompt, response=join_response(e.thought, e.summary)) for e in examples]
    text = "\n\n".join([*filled, fill(form, prompt=question, response="" if chat else TAGS[0]).rstrip()])
    return fill(in_language(FEW_SHOT, language), examples=text) if chat else text


def fill(form: str, **parts: str) -> str:
    """Puts texts into `{name}` places, all at once: braces in what is put in stay as they are."""
    places = "|".join(re.escape(f"{{{name}}}") for name in parts)
    return re.sub(places, lambda place: parts[place[0][1:-1]], form)
