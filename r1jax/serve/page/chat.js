// One model: questions and responses one under the other; a question can be edited, a response regenerated.

import { button, byId, el } from "./dom.js";
import { legend } from "./marks.js";
import { modelChoice } from "./models.js";
import { requestBody } from "./question.js";
import { ResponseView } from "./response.js";

export class Chat {
  /** @param edit is called with the text of a question that the reader wants to change. */
  constructor(section, models, pattern, run, edit) {
    Object.assign(this, { models, pattern, run, edit, turns: [], edited: null });
    this.choice = modelChoice(models, "chat-model");
    this.follow = el("input", { type: "checkbox", id: "follow" });
    this.list = el("ol", { class: "turns" });
    this.empty = el("p", { class: "soft" }, "Questions and responses appear here.");
    section.append(
      el("div", { class: "choice" }, this.choice.element,
        el("label", {}, this.follow, "send earlier questions and answers along"),
        button("Clear", () => this.clear(), { class: "quiet" })),
      this.empty, this.list, legend(),
    );
  }

  clear() {
    this.dropFrom(0);
    byId("question").focus();
  }

  dropFrom(index) {
    for (const turn of this.turns.splice(index)) turn.element.remove();
    this.empty.hidden = this.turns.length > 0;
    this.edited = null;
  }

  ask(question, example) {
    if (this.edited) this.dropFrom(this.turns.indexOf(this.edited));
    const turn = this.turn(question, example);
    this.turns.push(turn);
    this.list.append(turn.element);
    this.empty.hidden = true;
    return this.askTurn(turn);
  }

  turn(question, example) {
    const model = this.choice.model;
    const again = button("Regenerate", () => {
      this.dropFrom(this.turns.indexOf(turn) + 1);
      turn.attempt += 1;
      this.askTurn(turn);
    }, { class: "quiet" });
    const response = new ResponseView(el("h2", {}, model.title), { pattern: this.pattern, actions: [again] });
    const edit = button("Edit", () => {
      this.edited = turn;
      this.edit(question);
    }, { class: "quiet", "aria-label": "Edit the question, and ask it again from here" });
    const asked = el("div", { class: "asked" }, el("p", { class: "text", dir: "auto" }, question), edit);
    const turn = { model, question, example, response, attempt: 0, element: el("li", {}, asked, response.element) };
    return turn;
  }

  askTurn(turn) {
    const before = this.follow.checked ? this.turns.slice(0, this.turns.indexOf(turn)) : [];
    // As DeepSeek asks of its clients, earlier thoughts are not sent.
    const messages = before.flatMap(({ question, response }) => [
      { role: "user", content: question },
      { role: "assistant", content: response.answerText },
    ]);
    messages.push({ role: "user", content: turn.question });
    const body = requestBody(turn.model.id, messages, turn.attempt);
    return this.run((signal) => turn.response.ask(body, turn.example, signal));
  }
}
