// Elements of the page. Text becomes text nodes, never markup.

/** An element with attributes (true: present, false or null: absent; `on`: listeners by event) and children. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export const byId = (id) => document.getElementById(id);

export function button(label, onClick, attributes = {}) {
  return el("button", { type: "button", ...attributes, on: { click: onClick } }, label);
}

/** Says a sentence to screen readers once, without moving the focus. */
export function announce(sentence) {
  const line = el("p", {}, sentence);
  byId("announcer").append(line);
  setTimeout(() => line.remove(), 10_000);
}

/** Copies a text; on pages without a secure context, where browsers have no clipboard, by way of a selection. */
export async function copy(text, source) {
  const label = source.textContent;
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyBySelection(text);
    source.textContent = "Copied";
    announce("Copied.");
  } catch {
    source.textContent = "Not copied";
    announce("The browser refused to copy.");
  }
  setTimeout(() => (source.textContent = label), 1500);
}

function copyBySelection(text) {
  const focused = document.activeElement;
  const area = el("textarea", { class: "visually-hidden", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!copied) throw new Error("not copied");
}

/** Whether the page is as wide as a phone: the width that page.css changes at. */
export const isNarrow = () => matchMedia("(max-width: 40rem)").matches;

export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
