"""CLUEWSC 2020 (arXiv 2004.05986): whether a pronoun means a given noun, in Chinese; dev, 304 questions.

Original: `clue/clue`, cluewsc2020 (text, target {span1_text, span2_text, span2_index}, label "true" or "false", or 0
for true and 1 for false).
"""

from r1jax.benchmarks.benchmark import Benchmark, Row

_RIGHT = {"true": "是", "false": "否", 0: "是", 1: "否"}
INSTRUCTION = "{prompt}\n\n请先思考，最后一行按“答案：是”或“答案：否”的格式作答。"


def adapt(row: Row) -> Row:
    target = row["target"]
    question = (
        f"问题：上文中的代词“{target['span2_text']}”（第{target['span2_index']}个字符处）"
        f"是否指代“{target['span1_text']}”？请回答“是”或“否”。"
    )
    return {"prompt": f"{row['text']}\n\n{question}", "answer": _RIGHT[row["label"]]}


BENCHMARK = Benchmark(
    "CLUEWSC",
    "chinese",
    "choice",
    "cluewsc2020/dev.jsonl",
    adapt,
    instruction=INSTRUCTION,
    votes=True,
    hub="clue/clue:cluewsc2020:validation",
)
