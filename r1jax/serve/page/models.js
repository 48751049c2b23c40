// The served models with their cards, and the choice of one of them.

import { el } from "./dom.js";

/** The served models in the order of their cards; one without a card has its id as title. */
export function servedModels(served, cards) {
  const ids = new Set(served.map((model) => model.id));
  const known = cards.filter((card) => ids.has(card.id));
  const others = [...ids].filter((id) => !known.some((card) => card.id === id));
  return [...known, ...others.map((id) => ({ id, title: id, note: "", command: "", figures: {} }))];
}

/** A labelled list to choose a model from; the last model, which the others lead to, at first. */
export function modelChoice(models, id) {
  const select = el("select", { id }, ...models.map((model, i) => el("option", { value: i }, model.title)));
  select.value = String(models.length - 1);
  return {
    element: el("div", {}, el("label", { for: id }, "Model"), " ", select),
    get model() {
      return models[Number(select.value)];
    },
  };
}
