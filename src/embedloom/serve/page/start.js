// Views, keys, and the address that brings a view back.
function keep(state) {
  const place = new URLSearchParams(Object.entries(state).filter(([, value]) => value));
  history.replaceState(null, "", "#" + place);
}

function show(name, focus = true) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const own = tab.id === "tab-" + name;
    tab.setAttribute("aria-selected", String(own));
    tab.tabIndex = own ? 0 : -1;
    by(tab.id.slice(4)).hidden = !own;
  }
  document.title = by("tab-" + name).textContent + " · embedloom";
  if (name === "map") views.map.run();
  else keep({v: name, ...(name === "search" && {q: by("query").value, i: by("instruction").value})});
  if (focus && views[name].focus) by(views[name].focus).focus();
}

function shown() { return Object.keys(views).find(name => !by(name).hidden); }

function move(event, name) {
  const cards = [...by(name).querySelectorAll(".cards > li")], at = cards.indexOf(document.activeElement);
  if (event.key === "ArrowDown" && cards.length) cards[Math.min(at + 1, cards.length - 1)].focus();
  else if (event.key === "ArrowUp" && at >= 0) (cards[at - 1] || by(views[name].focus)).focus();
  else if (event.key === "Enter" && at >= 0) cards[at].classList.toggle("open");
  else return false;
  return true;
}

document.addEventListener("keydown", event => {
  const inside = event.target, name = shown(), writing = inside.tagName === "INPUT", text = inside.tagName === "TEXTAREA";
  const arrows = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
  const names = Object.keys(views);
  if (text) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    views[name].run();
  } else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (!writing && /^[1-4]$/.test(event.key)) show(names[event.key - 1]);
  else if (!writing && event.key === "/" && views[name].focus) { by(views[name].focus).focus(); by(views[name].focus).select(); }
  else if (inside.getAttribute("role") === "tab" && arrows && arrows[0]) {
    const to = names[(names.indexOf(name) + arrows[0] + names.length) % names.length];
    show(to, false);
    by("tab-" + to).focus();
  } else if (inside.tagName === "CANVAS" && arrows) step(...arrows);
  else if (inside.tagName === "BUTTON" || !move(event, name)) return;
  event.preventDefault();
});

for (const name of Object.keys(views)) {
  by("tab-" + name).addEventListener("click", () => show(name));
  const form = part(name, "form");
  if (form) form.addEventListener("submit", event => { event.preventDefault(); views[name].run(); });
}

const place = new URLSearchParams(location.hash.slice(1));
const first = place.get("v") in views ? place.get("v") : "search";
by("query").value = first === "search" ? place.get("q") || "" : "";
by("instruction").value = place.get("i") || "";
by("question").value = first === "ask" ? place.get("q") || "" : "";
show(first);
describe().catch(error => tell(first, error.message, true)).then(() => {
  if (first === "search" && by("query").value) views.search.run();
});
