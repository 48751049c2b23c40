// Many samples of one model: a card each, their votes counted, the majority's answer graded.

import { explain, streamChat } from "./api.js";
import { announce, el, plural } from "./dom.js";
import { modelChoice } from "./models.js";
import { requestBody } from "./question.js";
import { grade, seconds, showGrade, showResponse, wholeText } from "./response.js";

const SAMPLES = 16;
const REDRAW_MS = 120;

/** Votes by their key, most first and the first drawn among equals, as `r1jax.benchmarks.estimators.majority`. */
export function countVotes(samples) {
  const votes = new Map();
  for (const { result } of samples) {
    if (!result?.vote) continue;
    const vote = votes.get(result.vote) ?? { answer: result.answer ?? result.vote, correct: result.correct, count: 0 };
    vote.count += 1;
    votes.set(result.vote, vote);
  }
  return [...votes.values()].sort((a, b) => b.count - a.count);
}

export class Sample {
  constructor(section, models, pattern, run) {
    Object.assign(this, { pattern, run, samples: [] });
    this.choice = modelChoice(models, "sample-model");
    this.figures = el("p", { class: "figures" });
    this.votes = el("ol", { class: "votes" });
    this.state = el("p", { class: "soft" }, `One question, ${SAMPLES} samples: how often is each answer given?`);
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.cards = el("ol", { class: "cards" });
    section.append(el("div", { class: "choice" }, this.choice.element), this.state, this.problem,
      el("div", { class: "tally" }, this.figures, this.votes), this.cards);
  }

  ask(question, example) {
    return this.run((signal) => this.sample(question, example, signal));
  }

  async sample(question, example, signal) {
    const started = performance.now();
    const model = this.choice.model;
    const samples = Array.from({ length: SAMPLES }, (_, index) => this.card(index, question));
    this.samples = samples;
    this.cards.replaceChildren(...samples.map((sample) => sample.element));
    this.problem.hidden = true;
    this.tally();
    const body = { ...requestBody(model.id, [{ role: "user", content: question }]), n: SAMPLES };
    const grades = [];
    let usage = null;
    this.state.textContent = `${model.title} is sampling …`;
    try {
      const busy = (wait) => (this.state.textContent = `The server is busy: again in ${wait} s.`);
      for await (const chunk of streamChat(body, signal, busy)) {
        usage = chunk.usage ?? usage;
        for (const choice of chunk.choices ?? []) {
          const sample = samples[choice.index];
          if (!sample) continue;
          this.add(sample, choice);
          if (choice.finish_reason) grades.push(this.finish(sample, example, signal));
        }
      }
      for (const sample of samples) if (!sample.graded) grades.push(this.finish(sample, example, signal));
      await Promise.all(grades);
      const tokens = usage?.completion_tokens;
      const mean = tokens ? `${Math.round(tokens / SAMPLES)} tokens a sample · ` : "";
      this.state.textContent = `${model.title} · ${mean}${seconds(performance.now() - started)}`;
      announce(`${model.title}: ${this.figures.textContent}`);
    } catch (error) {
      if (this.samples !== samples) return; // asked again meanwhile
      await Promise.allSettled(grades);
      this.state.textContent = signal.aborted ? "Stopped." : "";
      this.problem.textContent = signal.aborted ? "" : explain(error);
      this.problem.hidden = signal.aborted;
    } finally {
      for (const sample of samples) {
        this.draw(sample);
        sample.element.removeAttribute("aria-busy");
      }
      this.tally();
    }
  }

  card(index, question) {
    const thought = el("div", { class: "text thought-text", dir: "auto" });
    const answer = el("div", { class: "text answer", dir: "auto" });
    const badge = el("span", { class: "badge", hidden: true });
    const element = el("li", { class: "card", "aria-busy": "true" },
      el("div", { class: "head" }, el("span", { class: "soft" }, `Sample ${index + 1}`), badge), thought, answer);
    return { question, thought, answer, badge, element, thoughtText: "", answerText: "", graded: false, result: null, redraw: null };
  }

  add(sample, { delta = {} }) {
    sample.thoughtText += delta.reasoning_content ?? "";
    sample.answerText += delta.content ?? "";
    sample.redraw ??= setTimeout(() => this.draw(sample), REDRAW_MS);
  }

  draw(sample) {
    clearTimeout(sample.redraw);
    sample.redraw = null;
    showResponse(sample, sample.thoughtText, sample.answerText.trim(), this.pattern, sample.question);
  }

  async finish(sample, example, signal) {
    sample.graded = true;
    sample.result = await grade(example, wholeText(sample.thoughtText, sample.answerText), signal);
    if (example) showGrade(sample.badge, sample.result);
    sample.element.removeAttribute("aria-busy");
    this.tally();
  }

  /** The votes and the figures of the samples that have a grade so far. */
  tally() {
    const votes = countVotes(this.samples);
    this.votes.replaceChildren(...votes.map((vote) => {
      const outcome = typeof vote.correct === "boolean" ? (vote.correct ? " right" : " wrong") : "";
      const bar = el("span", { class: `bar${outcome}`, "aria-hidden": "true" });
      bar.style.width = `${(100 * vote.count) / SAMPLES}%`;
      const badge = el("span", { class: "badge" });
      showGrade(badge, vote);
      return el("li", {}, el("span", { class: "vote", dir: "auto" }, vote.answer), el("span", { class: "track" }, bar),
        el("span", { class: "count" }, plural(vote.count, "vote")), badge);
    }));
    const graded = this.samples.filter(({ result }) => typeof result?.correct === "boolean");
    const right = graded.filter(({ result }) => result.correct).length;
    const parts = votes.length ? [`Majority: ${votes[0].answer.slice(0, 60)}`] : [];
    if (graded.length) {
      const share = Math.round((100 * right) / graded.length);
      parts.push(`cons@${graded.length}: ${votes[0]?.correct ? "✓ correct" : "✗ wrong"}`);
      parts.push(`pass@1: ${share}% (${right} of ${graded.length} samples)`);
    }
    const silent = this.samples.filter(({ result }) => result && !result.vote).length;
    if (silent) parts.push(`${plural(silent, "sample")} without an answer`);
    this.figures.textContent = parts.join(" · ");
  }
}
