// The demonstration page: its views, what runs in them, keys, and the API key.

import { explain, getJson, keepKey, onKeyNeeded } from "./api.js";
import { Chat } from "./chat.js";
import { Compare } from "./compare.js";
import { byId, isNarrow } from "./dom.js";
import { reflectionPattern } from "./marks.js";
import { servedModels } from "./models.js";
import { showNotes } from "./notes.js";
import { Question } from "./question.js";
import { Sample } from "./sample.js";

const VIEWS = ["compare", "chat", "sample", "notes"];
const ASKING = ["compare", "chat", "sample"];
let view = "";
const running = new Set(); // an AbortController for each task

/** Runs a task that the reader can stop. */
async function run(task) {
  const controller = new AbortController();
  running.add(controller);
  showRunning();
  try {
    return await task(controller.signal);
  } finally {
    running.delete(controller);
    showRunning();
  }
}

function stop() {
  for (const controller of running) controller.abort();
}

function showRunning() {
  byId("stop").disabled = running.size === 0;
  document.body.classList.toggle("running", running.size > 0);
}

function select(name, focus = false) {
  view = name;
  for (const each of VIEWS) {
    const tab = byId(`tab-${each}`);
    tab.setAttribute("aria-selected", String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
    byId(each).hidden = each !== name;
  }
  history.replaceState(null, "", `#${name}`);
  if (focus) byId(`tab-${name}`).focus();
}

function listenToTabs(present) {
  for (const name of VIEWS) {
    const tab = byId(`tab-${name}`);
    tab.hidden = !present.includes(name);
    tab.addEventListener("click", () => select(name));
  }
  byId("tabs").addEventListener("keydown", (event) => {
    const at = present.indexOf(view);
    const next = {
      ArrowRight: (at + 1) % present.length,
      ArrowLeft: (at + present.length - 1) % present.length,
      Home: 0,
      End: present.length - 1,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    select(present[next], true);
  });
}

function keyDialog() {
  const dialog = byId("key-dialog");
  const field = byId("key");
  return new Promise((resolve) => {
    field.value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      const use = dialog.returnValue === "use" && field.value.trim() !== "";
      if (use) keepKey(field.value.trim());
      field.value = "";
      resolve(use);
    }, { once: true });
    dialog.showModal();
  });
}

async function start() {
  onKeyNeeded(keyDialog);
  byId("change-key").addEventListener("click", async () => {
    if ((await keyDialog()) && !view) location.reload(); // without a key the page may not have started
  });
  byId("stop").addEventListener("click", stop);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !byId("key-dialog").open) stop();
  });
  const [info, served] = await Promise.all([getJson("demo/info"), getJson("v1/models")]);
  const models = servedModels(served.data, info.models);
  if (!models.length) throw new Error("the server has no model");
  const pattern = reflectionPattern(info.reflection_words);
  const views = {
    compare: new Compare(byId("compare"), models, pattern, run),
    chat: new Chat(byId("chat"), models, pattern, run, (text) => {
      question.text = text;
      question.field.focus();
    }),
    sample: new Sample(byId("sample"), models, pattern, run),
  };
  const question = new Question(info.examples, info.templates, () => {
    stop();
    if (!ASKING.includes(view)) select(models.length > 1 ? "compare" : "chat");
    views[view].ask(question.text, question.example);
    if (isNarrow()) byId("tabs").scrollIntoView(); // there the responses are below the screen
  });
  showNotes(byId("notes"), models);
  const present = models.length > 1 ? VIEWS : VIEWS.filter((name) => name !== "compare");
  listenToTabs(present);
  const wanted = location.hash.slice(1);
  select(present.includes(wanted) ? wanted : present[0]);
}

start().catch((error) => {
  const alert = byId("page-alert");
  alert.textContent = `The page could not start. ${explain(error)}`;
  alert.hidden = false;
});
