"""Cold start: readable long chains of thought from four sources in one file (arXiv 2501.12948, section 2.3.1).

The paper's ways: few-shot prompting with a long chain of thought as the example; direct prompting for a detailed answer
with reflection and verification; R1-Zero's outputs in a readable form; post-processing by human annotators. Besides,
existing chains of thought, from files. `stages.supervised` reads the samples as they are.

Departures: the paper does not print its prompts, filters or counts; r1jax's are in `text.cold_start_prompts` and
`stages.sample_filter`. R1-Zero's outputs are rewritten by rule or by a teacher, and may then be edited by a person.
"""

import contextlib
import dataclasses
import pathlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import jax
from jax.sharding import Mesh

from r1jax import config
from r1jax.benchmarks.reading import data_hash
from r1jax.core.shares import Shares
from r1jax.data.tasks import Questions, is_held_out
from r1jax.data.types import Prompt
from r1jax.graders.grader_table import check_row
from r1jax.inference import sampler
from r1jax.inference.sampler import Sampler
from r1jax.inference.served_model import EndpointConfig
from r1jax.inference.trained_prompts import check_chat, fill_prompt_format, warn_of_other_format
from r1jax.io import hub, jsonl, row_files
from r1jax.io.console import say
from r1jax.io.files import write_json
from r1jax.rewards.config import RewardConfig
from r1jax.rewards.grader_pool import GraderPool
from r1jax.stages.cold_start import candidates, review, rewriting
from r1jax.stages.cold_start.candidates import HELD_OUT, Candidate, fault_of_grade
from r1jax.stages.cold_start.config import ColdStartConfig, check_coldstart
from r1jax.stages.cold_start.sample_requests import Request, SampleCollector, direct_request, few_shot_request
from r1jax.text import prompt_format
from r1jax.text.chat import join_response, render

_LIMIT_KEY = "questions.max_prompt_tokens"  # of a whole prompt, with its few-shot examples


def run(cfg: ColdStartConfig, workdir: pathlib.Path, mesh: Mesh) -> pathlib.Path:
    """Collects samples, adding to what `workdir` holds. Returns the file of samples, `workdir/samples.jsonl`.

    Beside it: `table.json`, the numbers of candidates found, kept and dropped, by reason; `review_out.jsonl`, for
    editors; `usage.json`, a server's cost; and the record of samples, a folder for each way.

    Raises:
        ConfigError: see `check_coldstart`, `Record` and `review.read_review_file`.
        FileNotFoundError, ValueError: a model, a file or a record cannot be read, or answers cannot be graded here.
    """
    # The questions, and the candidates that exist already, in files and in records of R1-Zero.
    check_coldstart(cfg)
    few = cfg.few_shot and few_shot_request(cfg.few_shot, cfg.chat, cfg.seed)
    direct = cfg.direct and direct_request(cfg.direct, cfg.chat)
    prompts, names = _questions(cfg)
    files = [each for name in cfg.files for each in candidates.from_file(pathlib.Path(cfg.data), name)]
    zero = candidates.from_record(pathlib.Path(cfg.zero.record), cfg.zero.from_step) if _has_record(cfg) else []
    files, zero = ([_mark_held_out(each, cfg.held_out_share) for each in collected] for collected in (files, zero))
    names |= {each.prompt.grader for each in files} | ({"maths", "exact"} if cfg.zero else set())
    collected: dict[str, list[Candidate]] = {}
    # Each source in turn, its samples graded as they are drawn.
    is_first = jax.process_index() == 0
    with _graders(cfg, names, Shares.of_mesh(mesh)) as pool:
        collector = SampleCollector(workdir, _setup(cfg), cfg.seed, frozenset(names), cfg.graders, pool)
        if cfg.zero and cfg.zero.model:
            zero = _sampled_zero(cfg, prompts, collector, mesh)
        teacher = _teacher(cfg, workdir, mesh) if cfg.needs_teacher else None
        if few:
            collected["few_shot"] = collector.collect(few, prompts, cfg.few_shot.samples, teacher)
        if direct:
            collected["direct"] = collector.collect(direct, prompts, cfg.direct.samples, teacher)
        if cfg.zero:
            collected["zero"] = _rewritten(cfg, zero, collector, teacher)
        if files:
            collected["file"] = _graded_files(files, pool) if is_first else []
        if is_first:
            _finish(cfg, workdir, collected, pool)
            if teacher and teacher.usage:
                write_json(workdir / "usage.json", teacher.usage.row())
                say(f"teacher: {teacher.usage.line()}")
    return workdir / "samples.jsonl"


def _has_record(cfg: ColdStartConfig) -> bool:
    return bool(cfg.zero and cfg.zero.record)


def _questions(cfg: ColdStartConfig) -> tuple[list[Prompt], set[str]]:
    """The questions, not rendered for any model yet, and the names of their graders."""
    if not cfg.needs_questions:
        return [], set()
    data = dataclasses.replace(
        cfg.questions, template="plain", chat=False, marker="", template_arguments={}, max_prompt_tokens=0
    )
    questions = Questions(data, cfg.seed, SimpleNamespace(encode=lambda text: ()), examine=check_row)
    prompts = questions.training(cfg.count)
    if left_out := questions.left_out():
        say(f"{cfg.questions.path or 'tasks'}: {left_out}")
    return prompts, set(questions.graders)


def _setup(cfg: ColdStartConfig) -> dict[str, Any]:
    """The settings that all samples depend on, beside the model and the prompt."""
    sampling, truncation = cfg.sampling, cfg.sampling.truncation
    questions = config.to_dict(cfg.questions) if cfg.questions else {}
    if questions.get("path"):
        path = questions["path"]
        questions |= {"path": row_files.name_of(path), "hash": data_hash(path)}
    return {
        "questions": questions,
        "seed": cfg.seed,
        "temperature": truncation.temperature,
        "top_p": truncation.top_p,
        "top_k": truncation.top_k,
        "max_new_tokens": sampling.max_new_tokens,
        "compute": cfg.compute,
    }


@contextlib.contextmanager
def _graders(cfg: ColdStartConfig, names: set[str], shares: Shares) -> Iterator[GraderPool | None]:
    """The grader processes, where this process leads its share of samples; None in the others."""
    if not shares.leads:
        yield None
        return
    with GraderPool(RewardConfig(graders=cfg.graders), cfg.seed, cfg.sampling.max_new_tokens, names) as pool:
        yield pool


def _prompt_limit(cfg: ColdStartConfig) -> int:
    return cfg.questions.max_prompt_tokens if cfg.questions else 0


def _teacher(cfg: ColdStartConfig, workdir: pathlib.Path, mesh: Mesh) -> Sampler:
    teacher = sampler.open_sampler(
        cfg.model,
        cfg.endpoint,
        cfg.sampling,
        cfg.chat,
        cfg.compute,
        mesh,
        workdir / "usage.jsonl",
        cfg.template_arguments,
        _prompt_limit(cfg),
        _LIMIT_KEY,
    )
    check_chat(teacher.tokenizer, cfg.chat, "config.chat")
    # Only these fields: each request writes its prompt by itself, without a template.
    warn_of_other_format(SimpleNamespace(chat=cfg.chat, template_arguments=cfg.template_arguments), cfg.model)
    return teacher


def _sampled_zero(
    cfg: ColdStartConfig, prompts: Sequence[Prompt], collector: SampleCollector, mesh: Mesh
) -> list[Candidate]:
    """Outputs of the R1-Zero checkpoint, which is freed before a teacher is opened."""
    model = str(hub.model_path(cfg.zero.model))
    zero = sampler.open_sampler(
        model,
        EndpointConfig(),
        cfg.sampling,
        bool(cfg.questions.chat),
        None,
        mesh,
        max_prompt_tokens=_prompt_limit(cfg),
        limit_key=_LIMIT_KEY,
    )
    form = fill_prompt_format(cfg.questions, model, zero.tokenizer, prompt_format.R1_ZERO, "config.questions")
    zero = dataclasses.replace(zero, template_arguments=form.template_arguments)
    request = Request(
        "zero", form.template, lambda prompt: render(form.template, prompt.question), form.chat, tags=True, ends=True
    )
    return collector.collect(request, prompts, cfg.zero.samples, zero)


def _mark_held_out(each: Candidate, share: float) -> Candidate:
    return dataclasses.replace(each, fault=HELD_OUT) if is_held_out(each.prompt.question, share) else each


def _rewritten(
    cfg: ColdStartConfig, collected: Sequence[Candidate], collector: SampleCollector, teacher: Sampler | None
) -> list[Candidate]:
    """R1-Zero's outputs, those that pass the filters rewritten in the readable form."""
    # All samples of a question: rewriting may make one of those chosen here wrong.
    chosen = candidates.choose(collected, cfg.marker, dataclasses.replace(cfg.readable, per_question=0))
    faultless = [each for each in chosen if not each.fault]
    if cfg.zero.rewrite == "teacher":
        better = rewriting.by_teacher(faultless, collector, teacher, cfg.chat)
    else:
        better = rewriting.by_rule(faultless, collector.pool, cfg.boxed) if jax.process_index() == 0 else []
    by_id = {each.id: each for each in better}
    return [by_id.get(each.id, each) for each in chosen]


def _graded_files(collected: Sequence[Candidate], pool: GraderPool) -> list[Candidate]:
    """Chains of thought from files, those that a rule grades as wrong with that fault."""
    checked = [each for each in collected if each.check and not each.fault]
    graded = pool.score([each.rollout() for each in checked])
    faults = {each.id: fault_of_grade(rollout.parts["accuracy"]) for each, rollout in zip(checked, graded, strict=True)}
    return [dataclasses.replace(each, fault=each.fault or faults.get(each.id, "")) for each in collected]


def _in_sentences(collected: Sequence[Candidate], pool: GraderPool, boxed: bool) -> list[Candidate]:
    """Bare answers put in sentences, where the grader, if there is one, accepts the sentence too."""
    changed = {}
    for each in collected:
        summary = rewriting.summary_of(each.summary, each.language, boxed)
        if not each.fault and summary != each.summary:
            changed[each.id] = dataclasses.replace(each, summary=summary, bare=False)
    checked = [each for each in changed.values() if each.check]
    for each, rollout in zip(checked, pool.score([each.rollout() for each in checked]), strict=True):
        if rollout.parts["accuracy"] != 1.0:
            del changed[each.id]
    return [changed.get(each.id, each) for each in collected]


def _finish(
    cfg: ColdStartConfig, workdir: pathlib.Path, collected: Mapping[str, Sequence[Candidate]], pool: GraderPool
) -> None:
    """Filters all candidates, writes or reads the review file, and writes the samples and the table."""
    everything = _in_sentences([each for way in collected.values() for each in way], pool, cfg.boxed)
    chosen = candidates.choose(everything, cfg.marker, cfg.readable)
    faultless = [each for each in chosen if not each.fault]
    # Human review: verdicts that came back, else a file for the editors.
    reviewed: dict[str, int] = {}
    if cfg.review:
        path = pathlib.Path(cfg.review)
        reviews = review.read_review_file(path, faultless, cfg.marker, cfg.readable)
        faultless, reviewed = review.apply(faultless, reviews)
        review.raise_faults(path, _wrong_edits(path, faultless, reviews, pool))
        say(f"review {path}: " + ", ".join(f"{count} {name}" for name, count in reviewed.items()))
    else:
        review.write_review_file(workdir / "review_out.jsonl", faultless)
    # The samples, and the table of all candidates.
    judged = {each.id: each for each in faultless}
    chosen = [judged.get(each.id, each) for each in chosen]
    samples = [each for each in chosen if not each.fault]
    jsonl.write(workdir / "samples.jsonl", (_row(each, cfg.marker) for each in samples))
    origins = [way for way in collected if way != "file"] + list(cfg.files)
    table = {
        "found": {name: _counts([each for each in chosen if _origin(each) == name]) for name in origins},
        "kept": len(samples),
        "languages": dict(Counter(each.language for each in samples)),
        "review": reviewed,
    }
    write_json(workdir / "table.json", table)
    for name, row in table["found"].items():
        reasons = "".join(f"; {count} {reason}" for reason, count in row["dropped"].items())
        say(f"{name}: {row['kept']} of {row['found']} kept{reasons}")
    say(f"{len(samples)} samples: {workdir / 'samples.jsonl'}")


def _wrong_edits(
    path: pathlib.Path, judged: Sequence[Candidate], reviews: Mapping[str, review.Review], pool: GraderPool
) -> list[str]:
    """Faults of edited texts that no longer give the right answer, as lines of an error message."""
    edited = [each for each in judged if each.provenance.get("verdict") == "edit" and each.check]
    graded = zip(edited, pool.score([each.rollout() for each in edited]), strict=True)
    return [
        f"{path}:{reviews[each.id].line}: the edited summary is graded {rollout.verdict!r}, its answer should be "
        f"{each.check.answer[:100]!r}"
        for each, rollout in graded
        if rollout.parts["accuracy"] != 1.0
    ]


def _origin(each: Candidate) -> str:
    """The candidate's way, or the file it is from."""
    return each.provenance.get("file", each.provenance["way"])


def _counts(collected: Sequence[Candidate]) -> dict[str, Any]:
    dropped = Counter(each.fault for each in collected if each.fault)
    return {"found": len(collected), "kept": len(collected) - dropped.total(), "dropped": dict(dropped.most_common())}


def _row(each: Candidate, marker: str) -> dict[str, Any]:
    """A sample, as fine-tuning takes it."""
    return {
        "id": each.id,
        "prompt": each.prompt.question,
        "response": join_response(each.thought, each.summary, marker),
        "answer": each.prompt.answer,
        "source": each.prompt.source,
        "language": each.language,
        "provenance": dict(each.provenance),
    }
