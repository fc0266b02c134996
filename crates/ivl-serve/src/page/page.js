// The chat page: no framework, no build step. It speaks to the server it came from, through the same API as any client.

const at = (id) => document.getElementById(id);
const store = {
  get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* storage may be switched off */ } },
};

let models = [];
let history = [];
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
  const input = make("input", { id, type: "range", min: -1, max: 2, step: 0.05, value: model.ivl.alpha });
  const shown = make("output", { textContent: Number(input.value).toFixed(2) });
  shown.htmlFor = id;
  input.dataset.value = model.id;
  input.addEventListener("input", () => {
    shown.textContent = Number(input.value).toFixed(2);
    describeMode();
  });
  return make("div", { className: "value" }, make("label", { htmlFor: id, textContent: `alpha of ${model.id}` }), shown, input);
}

/** Values and weights as the sliders stand. */
const weights = () =>
  [...at("values").querySelectorAll("input")]
    .map((input) => ({ id: input.dataset.value, alpha: Number(input.value) }))
    .filter((value) => value.alpha !== 0);

/** Models without a chat template continue text. */
const chats = () => [base(), ...values().filter((v) => weights().some((w) => w.id === v.id))].some((m) => m?.ivl.chat);

function describeMode() {
  const chat = chats();
  at("prompt-label").textContent = chat ? "Message" : "Text to continue (these models have no chat template)";
  at("system-label").hidden = !chat;
}

// Asking ------------------------------------------------------------------------------------------------------------------

function request(prompt, picked, explain) {
  const common = {
    model: base().id,
    stream: true,
    temperature: Number(at("temperature").value),
    max_tokens: Number(at("max-tokens").value),
    seed: 0,
    ivl: { values: picked, explain },
  };
  if (!chats()) return ["v1/completions", { ...common, prompt }];
  const system = at("system").value.trim();
  const messages = [...(system ? [{ role: "system", content: system }] : []), ...history, { role: "user", content: prompt }];
  return ["v1/chat/completions", { ...common, messages }];
}

/** Objects of a stream of server-sent events. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

/** Streams one answer into its card; the whole text. */
async function answer(card, url, body, signal) {
  const [paragraph, footer] = [card.querySelector("p"), card.querySelector("footer")];
  card.setAttribute("aria-busy", "true");
  let text = "";
  let seen = [];
  let finish = "stopped";
  try {
    const response = await fetch(url, { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
    if (!response.ok) throw new Error(await problem(response));
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
      paragraph.append(make("span", { className: "error", textContent: error.message }));
      finish = "failed";
    }
  } finally {
    card.setAttribute("aria-busy", "false");
    const flips = seen.filter((change) => change.flip).length;
    const told = seen.length ? `, ${flips} of ${seen.length} tokens chosen otherwise` : "";
    footer.textContent = ({ stop: "ended", length: "cut at the limit" }[finish] ?? finish) + told;
  }
  return text;
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
  const answers = make("div", { className: "answers" }, ...cards);
  const turn = make("div", { className: "turn" }, make("p", { className: "asked", textContent: prompt }), answers);
  at("log").append(turn);
  const bottom = new MutationObserver(() => turn.scrollIntoView({ block: "end" }));
  bottom.observe(turn, { childList: true, subtree: true });
  running = new AbortController();
  busy(true);
  const settings = [...(both || !picked.length ? [[]] : []), ...(picked.length ? [picked] : [])];
  const texts = await Promise.all(
    cards.map((card, index) => answer(card, ...request(prompt, settings[index], settings[index].length > 0), running.signal)),
  );
  running = null;
  bottom.disconnect();
  busy(false);
  // The conversation goes on from the answer with values.
  if (texts.at(-1)) history.push({ role: "user", content: prompt }, { role: "assistant", content: texts.at(-1) });
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
  history = [];
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
