// Requests to the server: JSON, streamed chat completions, the API key, waiting where the server is busy.

const KEY = "r1jax-api-key";
const RETRIES = 5; // of a request that the server is too busy for
const LONGEST_WAIT_S = 30;

export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Asks the reader for the API key; resolves to whether one was given. Set by the page. */
let askForKey = async () => false;
let asking = null;

export function onKeyNeeded(ask) {
  askForKey = ask;
}

export const keepKey = (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY));

/** Of several requests that need a key at the same time, one asks, and all wait. */
function keyGiven() {
  asking ??= askForKey().finally(() => (asking = null));
  return asking;
}

export async function getJson(path) {
  return (await send(path, {})).json();
}

export async function postJson(path, body, signal) {
  return (await send(path, post(body, signal))).json();
}

function post(body, signal) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
}

/**
 * A response with a good status.
 * @param onWait is called with the seconds until the next attempt when the server is busy.
 * @throws ServerError for any other; TypeError where no server answers; AbortError.
 */
async function send(path, options, onWait = () => {}) {
  for (let attempt = 0; ; attempt++) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const response = await fetch(path, { ...options, headers });
    if (response.ok) return response;
    // A key that another request has been given meanwhile is tried first.
    if (response.status === 401 && (sessionStorage.getItem(KEY) !== key || (await keyGiven()))) continue;
    if (response.status === 429 && attempt < RETRIES) {
      const seconds = Math.min(Number(response.headers.get("Retry-After")) || 2 ** attempt, LONGEST_WAIT_S);
      onWait(seconds);
      await sleep(seconds, options.signal);
      continue;
    }
    throw new ServerError(response.status, await errorMessage(response));
  }
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

async function errorMessage(response) {
  const text = await response.text();
  try {
    const body = JSON.parse(text);
    return body.error?.message ?? JSON.stringify(body.detail ?? body);
  } catch {
    return text.slice(0, 300) || response.statusText;
  }
}

/**
 * The chunks of a streamed chat completion, as the server sends them.
 * @throws as `send`; ServerError too where the stream holds an error, or ends before its end mark.
 */
export async function* streamChat(body, signal, onWait) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await send("v1/chat/completions", post(asked, signal), onWait);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ServerError(response.status, chunk.error.message ?? "the server gave up");
    yield chunk;
  }
  throw new ServerError(response.status, "the connection ended before the answer was whole");
}

/** The data of server-sent events. */
async function* events(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  } finally {
    reader.cancel().catch(() => {}); // where the reader of the events leaves early
  }
}

/** What to say of an error, in one sentence. */
export function explain(error) {
  if (error instanceof ServerError) {
    if (error.status === 401) return `The server wants an API key: ${error.message}`;
    if (error.status === 429) return `The server is busy: ${error.message}`;
    return error.status === 200 ? `It broke off: ${error.message}` : `Error ${error.status}: ${error.message}`;
  }
  return error instanceof TypeError ? "The server does not answer. Is it still running?" : String(error);
}
