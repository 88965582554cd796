// Ask: an answer whose citations lead to its passages.
function cited(answer) {
  const line = made("p", "", "said");
  for (const piece of answer.answer.split(/(\[\s*\d{1,3}(?:\s*[,;]\s*\d{1,3})*\s*\])/)) {
    if (!/^\[[\d\s,;]+\]$/.test(piece)) { line.append(piece); continue; }
    for (const number of piece.match(/\d+/g).map(Number)) {
      if (!answer.cited.includes(number)) { line.append(`[${number}?]`); continue; }
      const link = made("button", String(number), "cite");
      link.type = "button";
      link.setAttribute("aria-label", "passage " + number);
      link.addEventListener("click", () => part("ask", ".cards").children[number - 1].focus());
      line.append(link);
    }
  }
  return line;
}

function passageCard(passage, isCited) {
  const item = card(), title = made("h2");
  title.append(made("span", `[${passage.number}] `, "number"), passage.id, isCited ? "" : " · not cited");
  item.append(scored(passage.score), title, made("p", passage.text, "text"));
  return item;
}

views.ask = {
  focus: "question",
  run() {
    const question = by("question").value.trim();
    if (!question) return;
    keep({v: "ask", q: question});
    part("ask", ".result").replaceChildren();
    part("ask", ".cards").replaceChildren();
    work("ask", async signal => {
      const started = performance.now();
      const answer = await post("v1/ask", {question}, signal);
      const box = made("div", "", "answer"), check = made("button", "Find sources for each sentence", "small");
      check.type = "button";
      check.addEventListener("click", () => { by("text").value = answer.answer; show("attribute"); views.attribute.run(); });
      box.append(cited(answer), check);
      const told = [`answered by ${answer.chat} in ${((performance.now() - started) / 1000).toFixed(1)} s`];
      if (!answer.cited.length) told.push("it cites no passage");
      if (answer.unknown.length) told.push("it cites passages that it was not shown");
      if (!answer.complete) told.push("it was cut at its limit of tokens");
      tell("ask", told.join(" · "));
      part("ask", ".result").replaceChildren(box);
      part("ask", ".cards").replaceChildren(...answer.passages.map(one => passageCard(one, answer.cited.includes(one.number))));
    });
  },
};
