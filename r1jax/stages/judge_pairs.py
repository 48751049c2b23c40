"""Preference pairs for a helpfulness reward model: a judge compares candidate responses to one prompt.

After DeepSeek-R1 (arXiv 2501.12948, in Nature): each pair is judged four times with positions changed, the judgements
are averaged, pairs that differ by more than 1 are kept, and chosen and rejected responses are of comparable length on
the whole. The paper names no scale; here it is in the degrees of Arena-Hard's five verdicts, +2 (much better), +1, 0,
-1, -2, so that a margin above 1 is more than "better" on average. It draws the positions; here as many rounds show a
pair in one order as in the other, and a judge that prefers a position comes to exactly 0. The judge sees summaries
only, never a thought.
"""

import collections
import itertools
import pathlib
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.config import ConfigError
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation.record import read_samples
from r1jax.graders import judge_protocols
from r1jax.graders.judge_client import Judge, Reply
from r1jax.io import jsonl
from r1jax.io.console import ProgressPrinter, say
from r1jax.io.files import write_json
from r1jax.io.provenance import short_hash
from r1jax.stages.config import JudgePairsConfig, ResponsesConfig


class Candidate(NamedTuple):
    """A response: its whole text, the summary for the judge, and its source, `<file or folder>:<id>[:<number>]`."""

    response: str
    summary: str
    source: str


class Comparison(NamedTuple):
    """Two responses to one prompt; `id` changes with the text that the judge sees."""

    id: str
    prompt: str
    first: Candidate
    second: Candidate


def run(cfg: JudgePairsConfig, workdir: pathlib.Path, mesh: Mesh | None = None) -> pathlib.Path:
    """Has the judge compare the pairs without judgements in `workdir`. Returns the pairs' file, `workdir/pairs.jsonl`.

    Only process 0 works. judgements.jsonl gets a line for each reply; requests that failed, or have no verdict, are
    repeated by the same command. Beside the pairs, summary.json has the numbers dropped, by reason, and the cost.

    Raises:
        ConfigError: no source, or no judge.
        FileNotFoundError, ValueError: a source cannot be read, or the judge refuses the key, the model or the address.
    """
    if not cfg.data.sources:
        raise ConfigError("config.data.sources is empty: name files of responses, or folders of collected samples")
    if not (cfg.judge.base_url and cfg.judge.model):
        raise ConfigError("set config.judge.base_url and config.judge.model to a server that speaks OpenAI's protocol")
    if jax.process_index():
        return workdir / "pairs.jsonl"
    candidates, left_out = read_candidates(cfg.data)
    comparisons = [each for prompt, some in candidates.items() for each in _comparisons(cfg, prompt, some)]
    stamp = f"{judge_protocols.version('degrees', cfg.judge)} T={cfg.temperature}"
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "judgements.jsonl"
    rows, corrupted = jsonl.read_log(path)
    replies = [row for row in rows if row["judge"] == stamp]
    judgements = {(row["pair"], row["round"]): row for row in replies if row["verdict"]}
    rounds = [(each, round_) for each in comparisons for round_ in range(cfg.rounds)]
    missing = [(each, round_) for each, round_ in rounds if (each.id, round_) not in judgements]
    say(
        f"{len(candidates)} prompts, {len(comparisons)} pairs, {len(rounds)} judgements, {len(missing)} of them to ask"
        + (f"; {corrupted} lines were cut off and are asked again" if corrupted else "")
    )
    for row in _request_judgements(cfg, missing, stamp):
        jsonl.append(path, row)
        replies.append(row)
        if row["verdict"]:
            judgements[row["pair"], row["round"]] = row
    pairs, dropped = choose(cfg, comparisons, judgements)
    jsonl.write(workdir / "pairs.jsonl", pairs)
    tokens = {key: sum(row[key] for row in replies) for key in ("prompt_tokens", "completion_tokens")}
    write_json(
        workdir / "summary.json",
        {
            "prompts": len(candidates),
            "compared": len(comparisons),
            "kept": len(pairs),
            "dropped": dropped,
            "left_out": left_out,
            "judge": stamp,
            "replies": len(replies),
            **tokens,
            **_describe(cfg, comparisons, judgements, pairs),
        },
    )
    say(
        f"{len(pairs)} of {len(comparisons)} pairs kept; dropped: "
        + ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        + f"; {tokens['prompt_tokens']:,} + {tokens['completion_tokens']:,} tokens of the judge's"
    )
    if dropped["unanswered"]:
        say("the same command asks again what was not answered")
    return workdir / "pairs.jsonl"


def read_candidates(cfg: ResponsesConfig) -> tuple[dict[str, list[Candidate]], dict[str, int]]:
    """Each prompt's candidates, at least two, whose summaries differ; and the numbers left out, by reason.

    Raises:
        FileNotFoundError, ValueError: see `jsonl.read_objects`; also no prompt with two candidates.
    """
    left_out = dict.fromkeys(("bad lines", "without a summary", "of the same summary as another", "alone"), 0)
    prompts: dict[str, dict[str, Candidate]] = {}
    for source in map(pathlib.Path, cfg.sources):
        read = _from_folder if source.is_dir() else _from_file
        rows, bad = read(source, cfg)
        left_out["bad lines"] += bad
        for prompt, candidate in rows:
            others = prompts.setdefault(prompt, {})
            if not candidate.summary:
                left_out["without a summary"] += 1
            elif candidate.summary in others:
                left_out["of the same summary as another"] += 1
            else:
                others[candidate.summary] = candidate
    left_out["alone"] = sum(len(each) == 1 for each in prompts.values())
    usable = {prompt: list(each.values()) for prompt, each in prompts.items() if len(each) > 1}
    if not usable:
        counts = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise ValueError(f"{', '.join(cfg.sources)}: no prompt has two responses to compare; left out: {counts}")
    return usable, left_out


def _from_file(path: pathlib.Path, cfg: ResponsesConfig) -> tuple[list[tuple[str, Candidate]], int]:
    def make(row: jsonl.Row, line: int) -> list[tuple[str, Candidate]]:
        if "responses" not in row and "response" not in row:
            raise ValueError("neither 'response' nor 'responses'")
        responses = row.get("responses", [row.get("response")])
        if not isinstance(responses, list):
            raise ValueError(f"'responses' is {responses!r}, should be a list of strings")
        jsonl.check_text("prompt", row.get("prompt"))
        jsonl.check_prompt_alone(row)
        for number, response in enumerate(responses):
            jsonl.check_text(f"responses[{number}]" if "responses" in row else "response", response)
        source = f"{path.name}:{row.get('id', line)}"
        return [
            (
                row["prompt"],
                _candidate(
                    Prompt("", row["prompt"], "", "", marker=cfg.marker),
                    response,
                    f"{source}:{number}" if "responses" in row else source,
                ),
            )
            for number, response in enumerate(responses)
        ]

    lines, bad = jsonl.read_objects(path, make, cfg.skip_bad_lines)
    return list(itertools.chain.from_iterable(lines)), bad


def _from_folder(folder: pathlib.Path, cfg: ResponsesConfig) -> tuple[list[tuple[str, Candidate]], int]:
    """Candidates from a folder of `r1jax.evaluation.collect`; of samples with the same id the latest counts."""
    questions, _ = jsonl.read_objects(folder / "questions.jsonl", lambda row, _: row)
    prompts = {
        row["id"]: Prompt(row["id"], row["question"], "", "", row["text"], marker=cfg.marker) for row in questions
    }
    samples, corrupted = read_samples(folder / "samples.jsonl")
    latest = {(row["id"], row["sample"]): row for row in samples if row["id"] in prompts}
    return [
        (prompts[id_].question, _candidate(prompts[id_], row["text"], f"{folder.name}:{id_}:{sample}"))
        for (id_, sample), row in sorted(latest.items())
    ], corrupted


def _candidate(prompt: Prompt, text: str, source: str) -> Candidate:
    rollout = Rollout.of_text(prompt, text)
    return Candidate(rollout.whole, rollout.response.final, source)  # a reader of pairs has no rendered prompt


def _comparisons(cfg: JudgePairsConfig, prompt: str, candidates: Sequence[Candidate]) -> Iterator[Comparison]:
    rng = random.Random(f"judge_pairs/{cfg.seed}/{prompt}")
    pairs = list(itertools.combinations(candidates, 2))
    for pair in rng.sample(pairs, min(cfg.pairs_per_prompt, len(pairs))):
        first, second = rng.sample(pair, 2)
        judged_text = "\0".join((prompt, first.summary, second.summary))
        yield Comparison(short_hash(judged_text, 16), prompt, first, second)


def _request_judgements(
    cfg: JudgePairsConfig, missing: Sequence[tuple[Comparison, int]], stamp: str
) -> Iterator[dict[str, Any]]:
    """A row for each reply, in the order of arrival; none for a request that failed."""
    progress = ProgressPrinter("pairs", "judgements")

    def judge_pair(judge: Judge, each: Comparison, round_: int) -> dict[str, Any] | None:
        swapped = bool(round_ % 2)
        first, second = (each.second, each.first) if swapped else (each.first, each.second)
        reply = judge_protocols.compare_degrees(judge, each.prompt, first.summary, second.summary, cfg.temperature)
        if reply == Reply(None):
            return None
        return {
            "pair": each.id,
            "round": round_,
            "swapped": swapped,
            "verdict": reply.verdict,
            "says": reply.text,
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "judge": stamp,
            "sources": [each.first.source, each.second.source],
        }

    with Judge(cfg.judge) as judge, ThreadPoolExecutor(cfg.judge.in_flight, thread_name_prefix="pairs") as threads:
        futures = [threads.submit(judge_pair, judge, *each) for each in missing]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                if row := future.result():
                    yield row
                progress(done, len(missing), lambda: f"{judge.prompt_tokens:,} + {judge.completion_tokens:,} tokens")
        finally:
            threads.shutdown(cancel_futures=True)  # where a key is refused, the others are too


def _preference(row: dict[str, Any]) -> int:
    """By how much a judgement prefers the comparison's first response."""
    return -judge_protocols.DEGREES[row["verdict"]] if row["swapped"] else judge_protocols.DEGREES[row["verdict"]]


def choose(
    cfg: JudgePairsConfig, comparisons: Sequence[Comparison], judgements: dict[tuple[str, int], dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The pairs that are kept, in the comparisons' order, and the numbers dropped, by reason."""
    pairs, unanswered = [], 0
    for each in comparisons:
        rows = [judgements[each.id, round_] for round_ in range(cfg.rounds) if (each.id, round_) in judgements]
        if len(rows) < cfg.rounds:
            unanswered += 1
            continue
        preferences = [_preference(row) for row in rows]
        mean = sum(preferences) / cfg.rounds
        if abs(mean) <= cfg.margin:
            continue
        sign, (chosen, rejected) = (1, (each.first, each.second)) if mean > 0 else (-1, (each.second, each.first))
        pairs.append(
            {
                "id": each.id,
                "prompt": each.prompt,
                "chosen": chosen.response,
                "rejected": rejected.response,
                "margin": abs(mean),
                "judgements": [sign * one for one in preferences],
                "judge": rows[0]["judge"],
                "chosen_from": chosen.source,
                "rejected_from": rejected.source,
                "lengths": [len(chosen.summary), len(rejected.summary)],
            }
        )
    decided = len(pairs)
    pairs = _balance_lengths(pairs, cfg.length_ratio)
    return pairs, {
        "unanswered": unanswered,
        "within the margin": len(comparisons) - unanswered - decided,
        "to even out lengths": decided - len(pairs),
    }


def _balance_lengths(pairs: list[dict[str, Any]], ratio: float) -> list[dict[str, Any]]:
    """Leaves out the pair that differs most the wrong way until neither side is longer than `ratio` times the other."""
    surplus = [pair["lengths"][0] - pair["lengths"][1] for pair in pairs]
    chosen, rejected = (sum(pair["lengths"][side] for pair in pairs) for side in (0, 1))
    left = collections.deque(sorted(range(len(pairs)), key=lambda i: surplus[i]))
    while ratio and left and max(chosen, rejected) > ratio * min(chosen, rejected):
        out = pairs[left.pop() if chosen > rejected else left.popleft()]
        chosen, rejected = chosen - out["lengths"][0], rejected - out["lengths"][1]
    return [pairs[i] for i in sorted(left)]


def _describe(
    cfg: JudgePairsConfig,
    comparisons: Sequence[Comparison],
    judgements: dict[tuple[str, int], dict[str, Any]],
    pairs: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Statistics of the judge's verdicts and of the pairs that are kept.

    Returns:
        verdicts: those that count here.
        first_wins: share of the verdicts but ties that prefer the first response: 0.5 without position bias.
        orders_agree: share of the fully judged pairs whose two orders, each on average, prefer the same response.
        longer_wins: share of the kept pairs whose chosen summary is longer, equal ones half.
    """
    rows = [judgements[each.id, r] for each in comparisons for r in range(cfg.rounds) if (each.id, r) in judgements]
    firsts = [judge_protocols.DEGREES[row["verdict"]] > 0 for row in rows if judge_protocols.DEGREES[row["verdict"]]]
    agree = []
    for each in comparisons:
        judged = [_preference(judgements[each.id, r]) for r in range(cfg.rounds) if (each.id, r) in judgements]
        if len(judged) == cfg.rounds:
            agree.append(sum(judged[::2]) * sum(judged[1::2]) > 0)
    longer = [0.5 * (1 + np.sign(pair["lengths"][0] - pair["lengths"][1])) for pair in pairs]
    return {
        "verdicts": len(rows),
        "first_wins": _mean(firsts),
        "orders_agree": _mean(agree),
        "longer_wins": _mean(longer),
        "mean_lengths": [_mean([pair["lengths"][side] for pair in pairs]) for side in (0, 1)],
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
