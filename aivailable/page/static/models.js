// The table of models, and what happened.

import { attribute, each, element, style, text } from "./dom.js";

const rate = (number) => (number === 0 ? "0" : number < 10 ? number.toFixed(1) : String(Math.round(number)));

export function showModels(body, models, colours) {
  each(body, models, (model) => model.name, makeModel, (row, model) => {
    const cells = row.children;
    attribute(row, "data-condition", model.condition);
    style(row, "--colour", colours(model.name));
    text(cells[0].querySelector(".name"), model.name);
    text(cells[0].querySelector(".missing"), model.missing.join(" "));
    text(cells[1], `${model.serving} of ${model.wanted}`);
    const traffic = model.traffic;
    const figures = traffic
      ? [rate(traffic.requests_per_s), rate(traffic.tokens_per_s), String(traffic.in_flight), String(model.waiting), rate(traffic.errors_per_s)]
      : ["–", "–", "–", "–", "–"];
    figures.forEach((figure, index) => text(cells[2 + index], figure));
    attribute(cells[6], "data-bad", String(Boolean(traffic && traffic.errors_per_s > 0)));
    each(cells[7].firstChild, model.replicas, (r) => `${r.replica} ${r.node} ${r.variant}`, () => element("li"), (line, r) => {
      attribute(line, "data-state", r.state);
      const place = r.node ? `${r.node}, ${r.cards.join(" + ") || "no card"}` : "nowhere yet";
      text(line, `#${r.replica} ${r.note ? `${r.state} (${r.note})` : r.state}: ${place}`);
    });
  });
}

function makeModel() {
  const numbers = Array.from({ length: 5 }, () => element("td", { class: "number" }));
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, element("span", { class: "name" }), element("span", { class: "missing" })),
    element("td", { class: "serving" }),
    ...numbers,
    element("td", {}, element("ul", { class: "replicas" })),
  );
}

export function showDecisions(list, decisions) {
  const seen = new Map();
  const numbered = decisions.map((entry) => {
    const name = `${entry.at_s} ${entry.about} ${entry.text}`;
    seen.set(name, (seen.get(name) ?? 0) + 1);
    return { ...entry, key: `${name} ${seen.get(name)}` };
  });
  each(list, numbered, (entry) => entry.key, () => element("li", {}, element("time"), element("b"), element("span")), (line, entry) => {
    const [time, about, words] = line.children;
    const at = new Date(1000 * entry.at_s);
    attribute(time, "datetime", at.toISOString());
    text(time, at.toLocaleTimeString([], { hour12: false }));
    text(about, entry.about);
    text(words, entry.text);
  });
}
