// What the views share: elements made without markup, requests, states, cards.
const by = id => document.getElementById(id);
const made = (name, text, kind) => {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const running = {};
const views = {};
let served = null;

function part(view, selector) { return by(view).querySelector(selector); }

function tell(view, text, trouble = false) {
  const state = part(view, ".state");
  state.textContent = text;
  state.classList.toggle("trouble", trouble);
}

async function post(path, body, signal) {
  const headers = {};
  if (by("key").value) headers.Authorization = "Bearer " + by("key").value;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body)});
  const content = await answer.json();
  if (answer.status === 401) by("guard").hidden = false;
  if (!answer.ok) throw new Error(content.error.message);
  return content;
}

// One request of a view at a time: a new one ends the one before it, and only the last may show anything.
async function work(view, doing) {
  if (running[view]) running[view].abort();
  const mine = running[view] = new AbortController();
  tell(view, "…");
  try {
    await doing(mine.signal);
    if (!served) describe().catch(() => {});
  } catch (error) {
    if (mine.signal.aborted) return;
    tell(view, error.message, true);
    if (!by("guard").hidden) by("key").focus();
  }
}

async function describe() {
  served = (await post("v1/models")).data[0];
  const index = served.index ? served.index.documents.toLocaleString("en") + " documents" : "no index: start with --index";
  by("model").textContent = `${served.id} · ${index} · ${served.system_fingerprint}`;
  by("instruction").placeholder = served.instruction || "none";
  by("tab-ask").title = served.chat ? "answered by " + served.chat : "no language model: start with --chat";
}

function scored(score) {
  const line = made("div", "", "score"), bar = made("span", "", "bar"), fill = made("i");
  fill.style.width = Math.max(0, Math.min(1, score)) * 100 + "%";
  bar.append(fill);
  line.append(made("b", score.toFixed(3)), bar);
  return line;
}

function card() {
  const item = made("li");
  item.tabIndex = 0;
  item.addEventListener("click", event => {
    if (!getSelection().toString() && !event.target.closest("button")) item.classList.toggle("open");
  });
  return item;
}

// The server counts characters, as Python does; JavaScript counts the halves of those beyond 16 bits.
function marked(text, start, end, kind) {
  const letters = Array.from(text), between = (from, to) => letters.slice(from, to).join("");
  const line = made("p", "", kind);
  line.append(between(0, start), made("mark", between(start, end)), between(end));
  return line;
}
