// The chat page: no framework, no build step. It speaks to the server it came from, through the same API as any client.

const at = (id) => document.getElementById(id);
const store = {
  get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* storage may be switched off */ } },
};

let models = [];
/** Messages of the conversation with values, and of the one without: each goes on from its own answers. */
let histories = { values: [], base: [] };
let running = null;

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

const headers = () => {
  const key = at("key").value;
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
};

const say = (text, error = false) => {
  at("status").textContent = text;
  at("status").classList.toggle("error", error);
};

/** The message of an error answer. */
const problem = async (response) => {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the server answers ${response.status}`;
  }
};

// Models and sliders ------------------------------------------------------------------------------------------------------

const base = () => models.find((model) => model.ivl.kind === "base");
const values = () => models.filter((model) => model.ivl.kind === "value");

async function loadModels() {
  const response = await fetch("v1/models", { headers: headers() });
  if (!response.ok) {
    if (response.status === 401) {
      document.querySelector("details").open = true;
      at("key").focus();
    }
    return say(await problem(response), true);
  }
  models = (await response.json()).data;
  at("base").textContent = base().id;
  at("values").replaceChildren(...values().map(slider));
  const none = values().length === 0;
  at("no-values").hidden = !none;
  for (const id of ["compare", "colour"]) at(id).parentElement.hidden = none;
  at("legend").hidden = none;
  describeMode();
  say("");
}

function slider(model, index) {
  const id = `alpha-${index}`;
  const alpha = model.ivl.alpha;
  const input = make("input", { id, type: "range", min: Math.min(-1, alpha), max: Math.max(2, alpha), step: 0.05, value: alpha });
  const shown = make("output");
  shown.htmlFor = id;
  input.dataset.value = model.id;
  // The weight itself: the slider has steps, which the weight that was set need not be on.
  const take = (weight) => {
    input.dataset.alpha = weight;
    shown.textContent = Number(weight).toFixed(2);
  };
  take(alpha);
  input.addEventListener("input", () => {
    take(input.value);
    describeMode();
  });
  return make("div", { className: "value" }, make("label", { htmlFor: id, textContent: `alpha of ${model.id}` }), shown, input);
}

/** Values and weights as the sliders stand. */
const weights = () =>
  [...at("values").querySelectorAll("input")]
    .map((input) => ({ id: input.dataset.value, alpha: Number(input.dataset.alpha) }))
    .filter((value) => value.alpha !== 0);

/** Models without a chat template continue text. */
const chats = () => [base(), ...values().filter((v) => weights().some((w) => w.id === v.id))].some((m) => m?.ivl.chat);

function describeMode() {
  const chat = chats();
  at("prompt-label").textContent = chat ? "Message" : "Text to continue (these models have no chat template)";
  at("system-label").hidden = !chat;
}

// Requests -----------------------------------------------------------------------------------------------------------------

/** Path and body of a request for an answer with these values. */
async function request(prompt, picked, signal) {
  const most = Number(at("max-tokens").value);
  const common = {
    model: base().id,
    stream: true,
    temperature: Number(at("temperature").value),
    seed: 0,
    ivl: { values: picked, explain: picked.length > 0 },
    ...(most > 0 && { max_tokens: most }),
  };
  if (!chats()) {
    // A completion without a limit is short: here it may fill the context.
    if (!(most > 0)) common.max_tokens = await room(prompt, signal);
    return ["v1/completions", { ...common, prompt }];
  }
  const system = at("system").value.trim();
  const history = picked.length ? histories.values : histories.base;
  const messages = [...(system ? [{ role: "system", content: system }] : []), ...history, { role: "user", content: prompt }];
  return ["v1/chat/completions", { ...common, messages }];
}

/** New tokens that fit after a text, at most 512. */
async function room(prompt, signal) {
  const response = await post("tokenize", { prompt }, signal);
  const { count, max_model_len: context } = await response.json();
  return Math.max(1, Math.min(512, context - count));
}

/** Sends JSON; an answer that is an error is thrown. */
async function post(path, body, signal) {
  const response = await fetch(path, { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
  if (!response.ok) throw new Error(await problem(response));
  return response;
}

/** Objects of a stream of server-sent events. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The connection broke off.");
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      // Lines that are no data keep the connection alive.
      if (!part.startsWith("data: ")) continue;
      const data = part.slice("data: ".length);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

/** Streams one answer into its card: its text, how it ended, and the error if there was one. */
async function answer(card, prompt, picked, signal) {
  const [paragraph, footer] = [card.querySelector("p"), card.querySelector("footer")];
  card.setAttribute("aria-busy", "true");
  let text = "";
  let seen = [];
  let finish = "stopped";
  let failure = null;
  try {
    const [path, body] = await request(prompt, picked, signal);
    const response = await post(path, body, signal);
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      const choice = event.choices[0];
      if (!choice) continue;
      const piece = choice.text ?? choice.delta.content ?? "";
      const changes = choice.ivl?.explain ?? [];
      seen = seen.concat(changes);
      if (piece) paragraph.append(token(piece, changes));
      text += piece;
      finish = choice.finish_reason ?? finish;
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      finish = "failed";
      failure = error.message;
    }
  } finally {
    card.setAttribute("aria-busy", "false");
    const flips = seen.filter((change) => change.flip).length;
    const told = seen.length ? `, ${flips} of ${seen.length} tokens chosen otherwise` : "";
    footer.textContent = ({ stop: "ended", length: "cut at the limit" }[finish] ?? finish) + told;
  }
  return { text, finish, failure };
}

/** A piece of text with what the values changed: colour by the log-probability, underlined where the first choice differs. */
function token(text, changes) {
  const span = make("span", { className: "token", textContent: text });
  const known = changes.filter((change) => change.delta !== undefined);
  if (known.length) {
    const strongest = known.reduce((a, b) => (Math.abs(b.delta) > Math.abs(a.delta) ? b : a));
    const strength = Math.min(4, Math.ceil(Math.abs(strongest.delta)));
    if (strength > 0 && Math.abs(strongest.delta) >= 0.1) {
      span.dataset.sign = strongest.delta > 0 ? "plus" : "minus";
      span.dataset.strength = strength;
    }
    if (known.some((change) => change.flip)) span.dataset.flip = "";
    const rank = `rank ${strongest.rank_before + 1} to ${strongest.rank_after + 1}`;
    const other = strongest.flip ? `, the base would write ${JSON.stringify(strongest.base_top)}` : "";
    span.title = `log-probability ${strongest.delta >= 0 ? "+" : ""}${strongest.delta.toFixed(2)}, ${rank}${other}`;
  }
  return span;
}

function card(title) {
  return make("article", { className: "answer" }, make("h2", { textContent: title }), make("p"), make("footer"));
}

async function ask(prompt) {
  const picked = weights();
  const label = picked.map((value) => `${value.id} × ${value.alpha}`).join(" + ");
  const both = picked.length > 0 && at("compare").checked;
  const cards = [...(both || !picked.length ? [card(`${base().id} alone`)] : []), ...(picked.length ? [card(`with ${label}`)] : [])];
  const columns = make("div", { className: "answers" }, ...cards);
  const turn = make("div", { className: "turn" }, make("p", { className: "asked", textContent: prompt }), columns);
  at("log").append(turn);
  const bottom = new MutationObserver(() => turn.scrollIntoView({ block: "end" }));
  bottom.observe(turn, { childList: true, subtree: true });
  const { signal } = (running = new AbortController());
  busy(true);
  const settings = [...(both || !picked.length ? [[]] : []), ...(picked.length ? [picked] : [])];
  const answers = await Promise.all(cards.map((card, index) => answer(card, prompt, settings[index], signal)));
  running = null;
  bottom.disconnect();
  busy(false);
  const failures = new Set(answers.map((one) => one.failure).filter(Boolean));
  // A new conversation has begun meanwhile.
  if (!turn.isConnected) return;
  if (failures.size) return say([...failures].join(" "), true);
  if (signal.aborted) return say("Stopped. This turn is not part of the conversation.");
  // Each conversation goes on from its own answer; where only one was written, both go on from it.
  for (const [history, one] of [[histories.base, answers[0]], [histories.values, answers.at(-1)]]) {
    history.push({ role: "user", content: prompt }, { role: "assistant", content: one.text });
  }
  say("Done.");
}

function busy(is) {
  at("send").hidden = is;
  at("stop").hidden = !is;
  (is ? at("stop") : at("prompt")).focus();
  if (is) say("Writing. Escape stops.");
}

// Wiring ------------------------------------------------------------------------------------------------------------------

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const prompt = at("prompt").value;
  if (!prompt.trim() || running || !models.length) return;
  at("prompt").value = "";
  ask(prompt);
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("composer").requestSubmit();
  }
});
const stop = () => running?.abort();
at("stop").addEventListener("click", stop);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") stop(); });
at("reset").addEventListener("click", () => {
  stop();
  histories = { values: [], base: [] };
  at("log").replaceChildren();
  say("A new conversation.");
  at("prompt").focus();
});
at("key").addEventListener("change", loadModels);
const colour = () => at("log").classList.toggle("coloured", at("colour").checked);
at("colour").addEventListener("change", colour);
colour();

const themes = ["", "dark", "light"];
function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  at("theme").setAttribute("aria-label", `Theme: ${name || "as the system"}`);
  at("theme").textContent = { "": "◐", dark: "●", light: "○" }[name];
  store.set("ivl-theme", name);
}
theme(themes.includes(store.get("ivl-theme")) ? store.get("ivl-theme") : "");
at("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "";
  theme(themes[(themes.indexOf(now) + 1) % themes.length]);
});

loadModels().catch(() => say("The server cannot be reached.", true));
