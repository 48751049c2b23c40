// Demonstration notes: what each model is and how it was made, what to try, what the marks and figures mean.

import { button, copy, el } from "./dom.js";

const TO_TRY = [
  ["A sum, side by side.", "Does each model work step by step, does it check itself, does it stop in time?"],
  ["A question in Chinese.", "In which language does each model think? R1-Zero was rewarded for right answers in the "
    + "right format and for nothing else, and mixes languages; R1 was rewarded for keeping to the question's."],
  ["A request with no sum in it.", "A translation, a greeting, somebody's password: what only later training taught."],
  ["Sample 16.", "Where a single sample is often wrong, is the most frequent answer right?"],
  ["Another temperature.", "At 0 all samples agree; at 1 the model shows everything that it might say."],
  ["A question of your own.", "The shipped models know a small world of sums, divisors and puzzles; outside it they "
    + "fail, and it is worth seeing how."],
];
const TERMS = [
  ["Thought", "What the model writes between <think> and </think> before it answers. R1-Zero's rewards do "
    + "not look at what it says there."],
  ["Held out", "The examples were kept out of every training by the text of the question alone."],
  ["Correct, wrong", "The answer's value against the reference, by the graders that gave the rewards in training."],
  ["pass@1", "The share of samples that are right."],
  ["cons@16", "Whether the most frequent of 16 answers is right; answers that mean the same count as one."],
];

export function showNotes(section, models) {
  section.append(
    el("h2", {}, "The models"),
    el("div", { class: "notes-models" }, ...models.map(modelNote)),
    el("h2", {}, "What to try"),
    list(TO_TRY),
    el("h2", {}, "What the words mean"),
    list(TERMS),
    el("h2", {}, "Keys"),
    el("p", {}, "Ctrl and Enter in the question field ask. Escape stops. The arrow keys change the view while its tab "
      + "has the focus."),
  );
}

function modelNote(model) {
  const figures = Object.entries(model.figures ?? {});
  return el("article", { "aria-label": model.title },
    el("h3", {}, model.title),
    model.note ? el("p", {}, model.note) : null,
    figures.length ? el("dl", { class: "figures" },
      ...figures.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))])) : null,
    model.command ? command(model.command) : null,
    el("p", { class: "soft" }, "Served as ", el("code", {}, model.id)),
  );
}

function command(text) {
  const copyButton = button("Copy", () => copy(text, copyButton), { class: "quiet", "aria-label": "Copy the command" });
  return el("div", { class: "command" }, el("pre", {}, el("code", {}, text)), copyButton);
}

function list(pairs) {
  return el("dl", { class: "list" }, ...pairs.flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)]));
}
