// Marks in a model's text: words of reflection, and words in another script than most of the text.

import { el, plural } from "./dom.js";

const HAN = /\p{Script=Han}(?:[\p{Script=Han}\p{P}\s]*\p{Script=Han})?/gu;
const LATIN = /(?<![\p{L}\p{N}_\\<\/])\p{Script=Latin}{2,}(?:['’]\p{Script=Latin}+)?(?![\p{L}\p{N}_])/gu;
const HAN_TO_A_WORD = 1.5; // as r1jax's language reward counts them
const LANGUAGES = { zh: "Chinese", en: "English" };

const escape = (word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/ /g, "\\s+");

/** The expression that finds the words, ASCII ones as whole words in any case; the longest first. */
export function reflectionPattern(words) {
  const longest = [...words].sort((a, b) => b.length - a.length).map(escape);
  const ascii = longest.filter((word) => /^[\x00-\x7f]+$/.test(word));
  const others = longest.filter((word) => !/^[\x00-\x7f]+$/.test(word));
  const parts = [ascii.length ? `(?<![a-z])(?:${ascii.join("|")})(?![a-z])` : "", ...others].filter(Boolean);
  return parts.length ? new RegExp(parts.join("|"), "gi") : null;
}

const spans = (text, pattern) => [...text.matchAll(pattern)].map((m) => [m.index, m.index + m[0].length]);

/**
 * The words of the script that fewer of the text's words are in.
 * @param besides words that count for neither, for example names in the question.
 * @returns {{language: string, spans: number[][]}} the language of these words ("zh", "en" or "": none) and where.
 */
export function foreignScript(text, besides = "") {
  const excluded = new Set(besides.match(LATIN) ?? []);
  const latin = spans(text, LATIN).filter(([start, end]) => !excluded.has(text.slice(start, end)));
  const han = spans(text, HAN);
  if (!latin.length || !han.length) return { language: "", spans: [] };
  const characters = text.match(/\p{Script=Han}/gu).length;
  if (characters / HAN_TO_A_WORD <= latin.length) return { language: "zh", spans: han };
  const joined = [];
  for (const span of latin) {
    const last = joined.at(-1);
    if (last && /^[ ,.'-]*$/.test(text.slice(last[1], span[0]))) last[1] = span[1];
    else joined.push(span);
  }
  return { language: "en", spans: joined };
}

/**
 * Puts a text into an element, with marks.
 * @returns {{reflections: number, language: string}} the number of words of reflection, and the marked language or "".
 */
export function showMarked(element, text, pattern, besides = "") {
  const reflections = pattern ? spans(text, pattern) : [];
  const foreign = foreignScript(text, besides);
  const cuts = new Set([0, text.length]);
  for (const span of [...reflections, ...foreign.spans]) span.forEach((cut) => cuts.add(cut));
  const ordered = [...cuts].sort((a, b) => a - b);
  const pieces = document.createDocumentFragment();
  let [r, f] = [0, 0];
  for (let i = 0; i + 1 < ordered.length; i++) {
    const [start, end] = [ordered[i], ordered[i + 1]];
    while (r < reflections.length && reflections[r][1] <= start) r++;
    while (f < foreign.spans.length && foreign.spans[f][1] <= start) f++;
    const inForeign = f < foreign.spans.length && foreign.spans[f][0] <= start;
    let node = document.createTextNode(text.slice(start, end));
    if (r < reflections.length && reflections[r][0] <= start) {
      node = marked(node, "reflection", "reflection");
    }
    if (inForeign) {
      node = marked(node, "script", `${LANGUAGES[foreign.language]} words`);
      node.lang = foreign.language;
      if (foreign.spans[f][0] === start) node.dataset.label = LANGUAGES[foreign.language];
    }
    pieces.append(node);
  }
  element.replaceChildren(pieces);
  return { reflections: reflections.length, language: foreign.language };
}

function marked(node, kind, title) {
  const mark = document.createElement("mark");
  mark.className = kind;
  mark.title = title;
  mark.append(node);
  return mark;
}

/** What `showMarked` found, in words. */
export function findings({ reflections, language }) {
  const parts = [];
  if (reflections) parts.push(plural(reflections, "reflection word"));
  if (language) parts.push(`mixed with ${LANGUAGES[language]}`);
  return parts;
}

/** What the marks mean. */
export function legend() {
  const script = el("mark", { class: "script" }, "词");
  return el("p", { class: "soft legend" },
    "Marked where a model reasons: ", el("mark", { class: "reflection" }, "wait"), " words of reflection; ",
    script, " words in another script than most of the text.");
}
