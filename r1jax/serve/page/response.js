// One response of a model on the page: its thought, its answer, their length and time, its grade.

import { explain, postJson, streamChat } from "./api.js";
import { announce, button, copy, el, plural } from "./dom.js";
import { findings, showMarked } from "./marks.js";

const REDRAW_MS = 80;
const MARKED_WHILE_STREAMING = 20_000; // characters; longer thoughts are marked when they are whole

/** The whole response as graders read it. */
export const wholeText = (thought, answer) => (thought ? `<think>${thought}</think>\n${answer}` : answer);

/** A response's grade; null where it cannot be had, or the reader stops: the response is whole all the same. */
export async function grade(example, text, signal) {
  try {
    return await postJson("demo/grade", { example: example?.id ?? null, text }, signal);
  } catch {
    return null;
  }
}

/** A badge that says in words whether an answer is right. */
export function showGrade(badge, result) {
  const correct = result?.correct;
  badge.hidden = typeof correct !== "boolean";
  badge.className = `badge ${correct ? "right" : "wrong"}`;
  const wrong = result?.verdict === "no_answer" ? "✗ no answer" : "✗ wrong";
  badge.textContent = badge.hidden ? "" : correct ? "✓ correct" : wrong;
}

export const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

/**
 * Puts thought and answer into their elements. Marks are for where a model reasons: its thought, else its answer.
 * @returns what `showMarked` returns.
 */
export function showResponse(elements, thought, answer, pattern, question) {
  elements.thought.textContent = thought;
  elements.answer.textContent = answer;
  return thought
    ? showMarked(elements.thought, thought, pattern, question)
    : showMarked(elements.answer, answer, pattern, question);
}

const isAtEnd = (element) => element.scrollHeight - element.scrollTop - element.clientHeight < 40;

/** Parts of a line, which breaks between them only. */
const joined = (parts) => parts.filter(Boolean).map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");

export class ResponseView {
  /**
   * @param heading the element above it, which names the model.
   * @param options.pattern of words of reflection; options.actions: further buttons.
   */
  constructor(heading, { pattern, actions = [] }) {
    this.pattern = pattern;
    this.length = el("span", { class: "length" });
    this.thought = el("div", { class: "text thought-text", dir: "auto" });
    this.panel = el("details", { class: "thought", open: true, hidden: true },
      el("summary", {}, "Thought", this.length), this.thought);
    this.answer = el("div", { class: "text answer", dir: "auto" });
    this.state = el("p", { class: "state soft" }, "Not asked yet.");
    this.badge = el("span", { class: "badge", hidden: true });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.copy = button("Copy", () => copy(this.copyText(), this.copy), { class: "quiet" });
    this.buttons = el("div", { class: "actions", hidden: true }, this.copy, ...actions);
    this.element = el("article", { class: "response", "aria-label": heading.textContent },
      el("div", { class: "head" }, heading, this.badge), this.panel, this.answer, this.problem,
      el("div", { class: "foot" }, this.state, this.buttons));
    this.clear();
  }

  clear() {
    Object.assign(this, { thoughtText: "", answerText: "", question: "", usage: null, finish: "", thoughtEnd: null });
    this.marks = { reflections: 0, language: "" };
    for (const part of [this.panel, this.problem, this.badge]) part.hidden = true;
    this.thought.replaceChildren();
    this.answer.replaceChildren();
    this.element.removeAttribute("data-outcome");
  }

  /** As before any question. */
  reset() {
    this.request = null;
    this.clear();
    this.buttons.hidden = true;
    this.say("Not asked.");
  }

  copyText() {
    return this.answerText || this.thoughtText;
  }

  /**
   * Asks a model, shows its response as it streams, and has it graded.
   * @param example the example that was asked, null for another question.
   * @returns the grade, null without one.
   */
  async ask(body, example, signal) {
    this.clear();
    const request = (this.request = Symbol("request")); // an earlier one, now stopped, changes nothing any more
    this.question = body.messages.at(-1).content;
    this.started = performance.now();
    this.element.setAttribute("aria-busy", "true");
    this.buttons.hidden = true;
    this.say("Waiting for the first words …");
    try {
      for await (const chunk of streamChat(body, signal, (wait) => this.say(`The server is busy: again in ${wait} s.`))) {
        for (const choice of chunk.choices ?? []) this.add(choice);
        this.usage = chunk.usage ?? this.usage;
      }
      return await this.end(example, signal);
    } catch (error) {
      if (this.request === request) this.breakOff(error, signal);
      return null;
    } finally {
      if (this.request === request) {
        this.element.removeAttribute("aria-busy");
        this.buttons.hidden = false;
      }
    }
  }

  add({ delta = {}, finish_reason: finish }) {
    if (delta.reasoning_content) {
      this.thoughtText += delta.reasoning_content;
      this.panel.hidden = false;
    }
    if (delta.content) {
      this.answerText += delta.content;
      if (this.thoughtText) this.thoughtEnd ??= performance.now();
    }
    this.finish = finish ?? this.finish;
    this.redraw ??= setTimeout(() => this.draw(), REDRAW_MS);
  }

  /** Shows the text so far; with marks where it is short, or `whole`. */
  draw(whole = false) {
    clearTimeout(this.redraw);
    this.redraw = null;
    const [thought, answer] = [this.thoughtText, this.answerText.trim()];
    const follows = isAtEnd(this.thought);
    if (whole || thought.length + answer.length <= MARKED_WHILE_STREAMING) {
      this.marks = showResponse(this, thought, answer, this.pattern, this.question);
    } else {
      this.thought.textContent = thought;
      this.answer.textContent = answer;
    }
    if (follows) this.thought.scrollTop = this.thought.scrollHeight;
    if (this.thought.scrollHeight > this.thought.clientHeight) this.thought.tabIndex = 0; // for the keyboard
    const thinks = this.thoughtText && !this.answerText;
    this.length.textContent = seconds((this.thoughtEnd ?? performance.now()) - this.started);
    this.say(this.thoughtText || this.answerText ? (thinks ? "Thinking …" : "Answering …") : "");
  }

  say(state) {
    this.state.textContent = state;
    this.state.hidden = !state;
  }

  async end(example, signal) {
    const total = performance.now() - this.started;
    this.thoughtEnd ??= performance.now();
    this.draw(true);
    const tokens = this.usage?.completion_tokens;
    const thoughtTokens = this.usage?.completion_tokens_details?.reasoning_tokens;
    this.length.textContent = joined([
      thoughtTokens ? plural(thoughtTokens, "token") : plural([...this.thoughtText].length, "character"),
      seconds(this.thoughtEnd - this.started),
    ]);
    const parts = [tokens ? plural(tokens, "token") : "", seconds(total), ...findings(this.marks)];
    if (this.finish === "length") parts.push("cut off at the token limit");
    if (!this.answerText.trim()) parts.unshift(this.thoughtText ? "no answer after the thought" : "an empty response");
    this.say(joined(parts));
    const result = await grade(example, wholeText(this.thoughtText, this.answerText), signal);
    if (result && example) showGrade(this.badge, result);
    this.element.dataset.outcome = "done";
    const name = this.element.getAttribute("aria-label");
    const answer = this.answerText.trim().slice(0, 300) || "no answer";
    announce(this.badge.hidden ? `${name}: ${answer}` : `${name}, ${this.badge.textContent.slice(2)}: ${answer}`);
    return result;
  }

  breakOff(error, signal) {
    this.draw(true);
    this.length.textContent = plural([...this.thoughtText].length, "character");
    if (signal.aborted) {
      this.say("Stopped.");
      this.element.dataset.outcome = "stopped";
      return;
    }
    this.say("");
    this.problem.textContent = explain(error);
    this.problem.hidden = false;
    this.element.dataset.outcome = "failed";
  }
}
