// Map: a canvas of documents in groups; the pointer, a finger or the arrow keys pick one.
const COLOURS = ["#3f7fc1", "#e8862e", "#d1495b", "#3aa6a0", "#5b9e45", "#d4a72c", "#9b6fb3", "#e58fa8", "#9a7357", "#7f8a94",
  "#5661c9", "#8aa825"];
const chart = {points: [], groups: [], only: null, at: null, places: []};

function draw() {
  const canvas = part("map", "canvas"), scale = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !chart.points.length) return;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.body);
  const ink = style.color, paper = getComputedStyle(part("map", ".map")).backgroundColor;
  pen.scale(scale, scale);
  // Stretched one way by half at most, so that groups stay round enough to be seen as one.
  const reach = way => Math.max(.1, ...chart.points.map(point => Math.abs(point[way])));
  const fits = [(width - 56) / 2 / reach("x"), (height - 52) / 2 / reach("y")], least = Math.min(...fits);
  const [wide, high] = fits.map(one => Math.min(one, 1.5 * least));
  const placed = one => [width / 2 + one.x * wide, height / 2 - one.y * high];
  chart.places = chart.points.map(placed);
  const narrow = width < 500;
  const radius = Math.max(narrow ? 1.5 : 2, Math.min(5, (narrow ? 85 : 130) / Math.sqrt(chart.points.length)));
  const dot = (at, more = 0) => {
    pen.beginPath();
    pen.arc(...chart.places[at], radius + more, 0, 7);
  };
  chart.points.forEach((point, at) => {
    pen.globalAlpha = chart.only === null || chart.only === point.group ? .8 : .12;
    pen.fillStyle = COLOURS[point.group % COLOURS.length];
    dot(at);
    pen.fill();
  });
  pen.globalAlpha = 1;
  pen.strokeStyle = ink;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const ranked = [];
  chart.points.forEach((point, at) => {
    const rank = found.ids.get(point.document_id);
    if (!rank && at !== chart.at) return;
    if (rank) ranked.push([rank, at]);
    pen.lineWidth = at === chart.at ? 3 : 2;
    dot(at, at === chart.at ? 4 : 2);
    pen.stroke();
  });
  // The best hits have their numbers, as far as these don't cover each other.
  const numbered = [];
  for (const [rank, at] of ranked.sort(([one], [other]) => one - other)) {
    const [x, y] = chart.places[at];
    if (numbered.some(([nx, ny]) => Math.abs(nx - x) < 15 && Math.abs(ny - y) < 15)) continue;
    numbered.push([x, y]);
    written(pen, String(rank), x, y - radius - 9, ink, paper, 11);
  }
  chart.groups.forEach((group, number) => {
    if (!group.name || (chart.only !== null && chart.only !== number)) return;
    const lines = group.name.split(" · ").slice(0, narrow ? 2 : 3), [x, y] = placed(group), step = 14;
    lines.forEach((line, at) => written(pen, line, Math.max(34, Math.min(width - 34, x)),
      y + (at - (lines.length - 1) / 2) * step, ink, paper, 12));
  });
}

function written(pen, text, x, y, ink, paper, size) {
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeStyle = paper;
  pen.strokeText(text, x, y);
  pen.fillStyle = pen.strokeStyle = ink;
  pen.fillText(text, x, y);
}

function nearest(event, most) {
  const box = part("map", "canvas").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, least = most * most;
  chart.places.forEach(([px, py], at) => {
    const far = (px - x) ** 2 + (py - y) ** 2;
    if (far < least && (chart.only === null || chart.points[at].group === chart.only)) [best, least] = [at, far];
  });
  return best;
}

function hint(at) {
  const tip = part("map", ".tip");
  tip.hidden = at === null;
  if (at === null) return;
  const text = chart.points[at].text, [x, y] = chart.places[at], canvas = part("map", "canvas");
  tip.textContent = text.length > 140 ? text.slice(0, 140) + "…" : text;
  tip.style.left = Math.max(4, Math.min(x + 12, canvas.clientWidth - tip.offsetWidth - 4)) + "px";
  tip.style.top = (y + 14 + tip.offsetHeight > canvas.clientHeight ? Math.max(4, y - tip.offsetHeight - 12) : y + 14) + "px";
}

function pick(at) {
  chart.at = at;
  const box = part("map", ".picked");
  box.hidden = at === null;
  if (at !== null) {
    const point = chart.points[at], rank = found.ids.get(point.document_id);
    box.replaceChildren(made("h2", point.document_id + (rank ? ` · hit ${rank}` : "")), made("p", point.text, "text"),
      made("p", chart.groups[point.group].name, "quiet"));
  }
  hint(at);
  draw();
}

function step(right, up) {
  if (chart.at === null) return pick(0);
  const [x, y] = chart.places[chart.at];
  let best = null, least = Infinity;
  chart.places.forEach(([px, py], at) => {
    const along = (px - x) * right - (py - y) * up, aside = Math.abs((px - x) * up) + Math.abs((py - y) * right);
    if (along > 1 && along + 2 * aside < least && at !== chart.at) [best, least] = [at, along + 2 * aside];
  });
  if (best !== null) pick(best);
}

function legend() {
  part("map", ".groups").replaceChildren(...chart.groups.map((group, number) => {
    const button = made("button"), colour = made("i");
    button.type = "button";
    colour.style.background = COLOURS[number % COLOURS.length];
    button.append(colour, `${group.name || "others"} (${group.documents})`);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      chart.only = chart.only === number ? null : number;
      [...part("map", ".groups").children].forEach((one, at) => one.setAttribute("aria-pressed", String(chart.only === at)));
      hint(null);
      draw();
    });
    return button;
  }));
}

views.map = {
  focus: null,
  run() {
    keep({v: "map"});
    if (chart.points.length) return draw();
    work("map", async signal => {
      const answer = await post("v1/map", {points: 2000}, signal);
      Object.assign(chart, {points: answer.points, groups: answer.groups, at: null, only: null});
      const all = answer.documents.toLocaleString("en"), shown = answer.points.length;
      const marks = found.ids.size ? " · hits of your search are ringed" : "";
      tell("map", (shown < answer.documents ? `${shown.toLocaleString("en")} of ${all} documents, drawn at random` : `${all} documents`) + marks);
      legend();
      draw();
    });
  },
};

(canvas => {
  canvas.addEventListener("pointermove", event => { if (event.pointerType === "mouse") hint(nearest(event, 14)); });
  canvas.addEventListener("pointerleave", () => hint(chart.at));
  canvas.addEventListener("click", event => pick(nearest(event, 30)));
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})(part("map", "canvas"));
