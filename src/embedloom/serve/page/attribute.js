// Sources: each sentence of a text with the spans that support it, or the word that there are none.
function sourceOf(source) {
  const box = made("div", "", "source"), line = made("p");
  const cut = text => text.length < 160 ? "" : "…";
  line.append(cut(source.before) + source.before, made("mark", source.text), source.after + cut(source.after));
  box.append(scored(source.score), made("h2", source.title || source.id));
  if (source.title) box.append(made("p", `${source.id}:${source.start}-${source.end}`, "quiet"));
  box.append(line);
  return box;
}

function sentenceCard(one) {
  const item = made("li");
  item.tabIndex = 0;
  item.append(made("p", one.sentence, "sentence"));
  if (one.sources.length) item.append(...one.sources.map(sourceOf));
  else {
    item.classList.add("none");
    item.append(made("p", `no source found (best ${one.best.toFixed(3)})`, "verdict"));
  }
  return item;
}

views.attribute = {
  focus: "text",
  run() {
    const text = by("text").value;
    if (!text.trim()) return;
    keep({v: "attribute"});
    part("attribute", ".cards").replaceChildren();
    work("attribute", async signal => {
      const answer = await post("v1/attribute", {text}, signal);
      const without = answer.data.filter(one => !one.sources.length).length;
      part("attribute", ".cards").replaceChildren(...answer.data.map(sentenceCard));
      tell("attribute", `${answer.data.length} sentences, ${without} without a source, at a threshold of ${answer.threshold.toFixed(3)}`);
    });
  },
};
