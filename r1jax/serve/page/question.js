// The question field, the examples to try, the settings, and what is being asked.

import { button, byId, el, isNarrow } from "./dom.js";

const SHOWN = { wide: 6, narrow: 4 };

export class Question {
  /** @param ask is called with nothing when the reader asks, by button, key or example. */
  constructor(examples, templates, ask) {
    this.examples = examples;
    this.first = 0;
    this.example = null;
    this.ask = ask;
    this.field = byId("question");
    for (const name of templates) byId("template").append(el("option", { value: name }, name));
    byId("question-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.submit();
      }
    });
    this.field.addEventListener("input", () => this.noticeExample());
    byId("show-settings").addEventListener("click", () => showSettings(byId("settings").hidden));
    byId("more-examples").addEventListener("click", () => this.turn());
    document.querySelector(".examples").hidden = examples.length === 0;
    this.showExamples();
    this.noticeExample();
    byId("ask").disabled = false;
  }

  get text() {
    return this.field.value.trim();
  }

  set text(text) {
    this.field.value = text;
    this.noticeExample();
  }

  submit() {
    const form = byId("question-form");
    // A hidden field cannot show what is wrong with it.
    if ([...byId("settings").querySelectorAll("input")].some((input) => !input.checkValidity())) showSettings(true);
    this.field.setCustomValidity(this.text || !this.field.value ? "" : "A question has at least one letter.");
    if (!form.reportValidity()) return;
    this.noticeExample(); // what was typed before the page had started
    this.ask();
  }

  /** An example is recognised by its text: one that was edited has no reference any more. */
  noticeExample() {
    this.field.setCustomValidity("");
    this.example = this.examples.find((each) => each.question === this.text) ?? null;
    const reference = byId("reference");
    reference.hidden = !this.example;
    reference.textContent = this.example?.reference
      ? `Reference answer: ${this.example.reference}`
      : "No one right answer: responses are not graded.";
  }

  turn() {
    this.first = (this.first + this.shown) % this.examples.length;
    this.showExamples();
  }

  showExamples() {
    this.shown = Math.min(isNarrow() ? SHOWN.narrow : SHOWN.wide, this.examples.length);
    const shown = Array.from({ length: this.shown }, (_, i) => this.examples[(this.first + i) % this.examples.length]);
    byId("more-examples").hidden = this.shown === this.examples.length;
    byId("examples").replaceChildren(...shown.map((example) => el("li", {},
      button(example.label, () => {
        this.text = example.question;
        this.submit();
      }, { class: "chip", lang: example.language || null, title: example.question }))));
  }
}

function showSettings(visible) {
  byId("settings").hidden = !visible;
  byId("show-settings").setAttribute("aria-expanded", String(visible));
}

const number = (id) => (byId(id).value === "" ? undefined : Number(byId(id).value));

/**
 * A request's body from the settings; what is empty is left to the server.
 * @param attempt of the same question: each has a seed of its own.
 */
export function requestBody(model, messages, attempt = 0) {
  const seed = number("seed");
  return {
    model,
    messages,
    temperature: number("temperature"),
    top_p: number("top-p"),
    seed: seed === undefined ? undefined : seed + attempt,
    max_tokens: number("max-tokens"),
    template: byId("template").value || null,
  };
}
