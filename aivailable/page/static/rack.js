// Nodes and cards: each card's memory as a bar of tenants, to the scale of the largest card.

import { attribute, count, each, element, gib, style, text } from "./dom.js";

const NODE_STATES = {
  up: "up",
  down: "down",
  silent: "silent: Consul does not hear it",
  leaving: "leaving: its work moves off",
  draining: "draining",
};

export function showRack(root, picture, colours) {
  const largest = Math.max(1, ...picture.nodes.flatMap((node) => node.cards.map((card) => card.total_mib)));
  each(root, picture.nodes, (node) => node.name, makeNode, (panel, node) => {
    attribute(panel, "data-state", node.state);
    text(panel.querySelector("h3"), node.name);
    text(panel.querySelector(".state"), NODE_STATES[node.state] ?? node.state);
    text(panel.querySelector(".where"), [node.node_class, node.rack].filter(Boolean).join(", "));
    const cards = panel.querySelector(".cards");
    each(cards, node.cards, (card) => card.uuid, makeCard, (item, card) => {
      showCard(item, card, node, largest, colours);
    });
  });
}

function makeNode() {
  return element(
    "article",
    { class: "node" },
    element("div", { class: "plate" }, element("h3"), element("span", { class: "state" }), element("span", { class: "where" })),
    element("ul", { class: "cards" }),
  );
}

function makeCard() {
  return element(
    "li",
    { class: "card" },
    element("div", { class: "name" }, element("strong"), element("span", { class: "size" }), element("span", { class: "sick" })),
    element("div", { class: "bar", role: "img" }),
    element("p", { class: "numbers" }),
    element("ul", { class: "tenants" }),
  );
}

function showCard(item, card, node, largest, colours) {
  const dead = node.state === "down";
  attribute(item, "data-healthy", String(card.healthy && !dead));
  text(item.querySelector("strong"), card.name);
  text(item.querySelector(".size"), `card ${card.index}, ${gib(card.total_mib)}`);
  text(item.querySelector(".sick"), card.healthy ? "" : "unhealthy");
  const bar = item.querySelector(".bar");
  style(bar, "width", `${(100 * card.total_mib) / largest}%`);
  attribute(bar, "aria-label", inWords(card, node));
  each(bar, dead ? [] : parts(card), (part) => part.key, makePart, (piece, part) => showPart(piece, part, card, colours));
  text(item.querySelector(".numbers"), numbers(card, dead));
  each(item.querySelector(".tenants"), dead ? [] : card.tenants, tenantKey, () => element("li"), (line, tenant) => {
    style(line, "--colour", colours(tenant.model));
    attribute(line, "data-state", tenant.state);
    attribute(line, "data-over", String(tenant.over));
    text(line, tenantWords(tenant));
  });
}

const tenantKey = (tenant) => `${tenant.model} ${tenant.replica} ${tenant.state === "stopping"} ${tenant.claim_mib}`;

function parts(card) {
  const tenants = card.tenants.map((tenant, index) => ({
    key: `tenant ${tenantKey(tenant)} ${index}`,
    kind: "tenant",
    mib: tenant.claim_mib,
    tenant,
  }));
  return [
    ...tenants,
    { key: "other", kind: "other", mib: card.other_mib },
    { key: "free", kind: "free", mib: card.free_mib },
    { key: "rest", kind: "rest", mib: card.rest_mib },
  ].filter((part) => part.mib > 0);
}

function makePart() {
  return element("span", {}, element("span", { class: "used" }), element("span", { class: "label" }));
}

function showPart(piece, part, card, colours) {
  attribute(piece, "class", `part ${part.kind}`);
  style(piece, "width", `${(100 * part.mib) / card.total_mib}%`);
  const used = piece.querySelector(".used");
  const { tenant } = part;
  if (tenant) {
    attribute(piece, "data-state", tenant.state);
    attribute(piece, "data-over", String(tenant.over));
    style(piece, "--colour", colours(tenant.model));
    style(used, "width", `${Math.min(100, (100 * (tenant.measured_mib ?? 0)) / Math.max(1, tenant.claim_mib))}%`);
    attribute(piece, "title", tenantWords(tenant));
  } else {
    style(used, "width", "0");
    attribute(piece, "title", { other: `${gib(part.mib)} booked by others`, free: `${gib(part.mib)} free`, rest: "less than a slice" }[part.kind]);
  }
  const label = tenant ? tenant.model : part.kind === "free" ? `${gib(part.mib)} free` : part.kind === "other" ? "others" : "";
  text(piece.querySelector(".label"), label);
}

function numbers(card, dead) {
  if (dead) return `not reached; ${gib(card.total_mib)} when it is back`;
  const words = [`${gib(card.booked_mib)} booked`, `${gib(card.free_mib)} free`];
  if (card.in_use_mib !== null) words.push(`${gib(card.in_use_mib)} in use, says the driver`);
  if (card.foreign_mib > 0) words.push(`${gib(card.foreign_mib)} held by processes that booked nothing`);
  return words.join(", ");
}

function tenantWords(tenant) {
  const seen = tenant.measured_mib === null ? "not measured yet" : `${gib(tenant.measured_mib)} measured`;
  const name = tenant.replica === 0 && tenant.model === "another model" ? tenant.model : `${tenant.model} #${tenant.replica}`;
  const over = tenant.over ? ", over its claim" : "";
  const state = tenant.note ? `${tenant.state} (${tenant.note})` : tenant.state;
  return `${name}: ${state}, ${gib(tenant.claim_mib)} claimed, ${seen}${over}`;
}

function inWords(card, node) {
  const health = node.state === "down" ? "its node is down" : card.healthy ? "healthy" : "unhealthy";
  if (node.state === "down") return `${card.name}, ${health}, ${numbers(card, true)}.`;
  const tenants = card.tenants.length ? card.tenants.map(tenantWords).join("; ") : "no model on it";
  return `${card.name}, ${health}, ${count(card.tenants.length, "tenant")}: ${tenants}. ${numbers(card, false)}.`;
}
