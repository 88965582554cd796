// Search: hits with similarity bars; the sentences that a hit was found for are marked once they are known.
const found = {ids: new Map()};

function hitCard(hit) {
  const item = card();
  item.append(scored(hit.score), made("h2", hit.title || hit.id));
  if (hit.title) item.append(made("p", hit.id, "quiet"));
  item.append(made("p", hit.text, "text"));
  return item;
}

views.search = {
  focus: "query",
  run() {
    const query = by("query").value.trim();
    if (!query) return;
    const body = {query, k: 10};
    if (by("instruction").value) body.instruction = by("instruction").value;
    keep({v: "search", q: query, i: body.instruction});
    work("search", async signal => {
      const started = performance.now(), list = part("search", ".cards");
      const hits = (await post("v1/search", body, signal)).data;
      list.replaceChildren(...hits.map(hitCard));
      found.ids = new Map(hits.map(hit => [hit.id, hit.index + 1]));
      tell("search", `${hits.length} hits in ${Math.round(performance.now() - started)} ms`);
      const spans = (await post("v1/search", {...body, include_text: false, highlight: true}, signal)).data;
      spans.forEach((hit, at) => {
        if (hits[at] && hit.span && hit.id === hits[at].id)
          list.children[at].querySelector(".text").replaceWith(marked(hits[at].text, hit.span.start, hit.span.end, "text"));
      });
    });
  },
};
