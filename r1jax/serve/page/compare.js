// Side by side: the same question to several models, streaming together.

import { button, el } from "./dom.js";
import { legend } from "./marks.js";
import { requestBody } from "./question.js";
import { ResponseView } from "./response.js";

const SHOWN_AT_FIRST = 3; // browsers open six connections to a server, and grading needs some

export class Compare {
  /** @param run wraps a task so that it can be stopped: `run((signal) => promise)`. */
  constructor(section, models, pattern, run) {
    this.run = run;
    this.columns = models.map((model) => this.column(model, pattern));
    const boxes = this.columns.map((column, index) => {
      const box = el("input", { type: "checkbox", on: { change: () => this.choose() } });
      box.checked = index < SHOWN_AT_FIRST;
      column.box = box;
      return el("label", {}, box, column.model.title);
    });
    this.hint = el("p", { class: "soft", hidden: true }, "Choose a model.");
    section.append(
      el("fieldset", { class: "choice", hidden: models.length < 2 }, el("legend", {}, "Models"), ...boxes),
      this.hint,
      el("div", { class: "columns" }, ...this.columns.map((column) => column.response.element)),
      legend(),
    );
    this.choose();
  }

  column(model, pattern) {
    const column = { model, attempt: 0 };
    const again = button("Regenerate", () => this.regenerate(column), { class: "quiet" });
    const heading = el("h2", {}, model.title);
    const response = new ResponseView(heading, { pattern, actions: [again] });
    return Object.assign(column, { response });
  }

  get shown() {
    return this.columns.filter((column) => column.box.checked);
  }

  choose() {
    for (const column of this.columns) column.response.element.hidden = !column.box.checked;
    this.hint.hidden = this.shown.length > 0;
  }

  ask(question, example) {
    this.asked = { question, example };
    for (const column of this.columns) {
      column.attempt = 0;
      if (!column.box.checked) column.response.reset(); // or it would show a response to an earlier question
    }
    return this.run((signal) => Promise.all(this.shown.map((column) => this.askOne(column, signal))));
  }

  askOne(column, signal) {
    const messages = [{ role: "user", content: this.asked.question }];
    column.question = this.asked;
    return column.response.ask(requestBody(column.model.id, messages, column.attempt), this.asked.example, signal);
  }

  /** Asks one column its own question again, with another seed. */
  regenerate(column) {
    this.asked = column.question;
    column.attempt += 1;
    return this.run((signal) => this.askOne(column, signal));
  }
}
