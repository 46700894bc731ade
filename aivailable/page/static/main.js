// The page: who looks, what is shown, light and dark.

import { Chat } from "./chat.js";
import { attribute, byId, count, gib, text } from "./dom.js";
import { follow } from "./live.js";
import { showDecisions, showModels } from "./models.js";
import { showRack } from "./rack.js";

const KEY = "aivailable-key";
const THEME = "aivailable-theme";
const COLOURS = 8;

let looking = null;
let chat = null;

function enter(key) {
  leave();
  sessionStorage.setItem(KEY, key);
  looking = new AbortController();
  chat = new Chat(key);
  byId("door").hidden = true;
  byId("inside").hidden = byId("leave").hidden = false;
  text(byId("refused"), "");
  follow(key, looking.signal, {
    picture: show,
    state: (state) => showState(state),
    denied: (message) => {
      leave();
      text(byId("refused"), message);
      byId("key").focus();
    },
  });
}

function leave() {
  looking?.abort();
  chat?.end();
  looking = chat = null;
  sessionStorage.removeItem(KEY);
  byId("inside").hidden = byId("leave").hidden = true;
  byId("door").hidden = false;
  for (const id of ["rack", "models", "decisions"]) byId(id).replaceChildren();
  text(byId("summary"), "");
  showState("none");
}

function showState(state) {
  const words = { live: "live", lost: "connection lost, trying again", none: "not connected" };
  attribute(byId("live"), "data-state", state);
  text(byId("live"), words[state]);
}

function show(found) {
  const trouble = byId("trouble");
  trouble.hidden = !found.trouble;
  text(trouble, found.trouble ? `What is shown may be old: ${found.trouble}` : "");
  const picture = found.picture;
  if (!picture) return;
  const colours = coloursOf(picture.models);
  byId("simulated").hidden = !picture.simulated;
  byId("no-models").hidden = picture.models.length > 0;
  byId("no-nodes").hidden = picture.nodes.length > 0;
  showModels(byId("models"), picture.models, colours);
  showRack(byId("rack"), picture, colours);
  showDecisions(byId("decisions"), picture.decisions);
  text(byId("summary"), summary(picture));
  chat.offer(picture.models, found.gateways, found.you);
}

// Each model keeps its colour while the fleet is the same; what is no model of ours is grey.
function coloursOf(models) {
  const order = new Map(models.map((model, index) => [model.name, index % COLOURS]));
  return (name) => (order.has(name) ? `var(--model-${order.get(name)})` : "var(--other)");
}

// Only what matters enough to be read aloud when it changes.
function summary(picture) {
  const cards = picture.nodes.flatMap((node) => node.cards);
  const down = picture.nodes.filter((node) => node.state === "down").map((node) => node.name);
  const short = picture.models.filter((model) => model.condition !== "good").map((model) => model.name);
  const words = [`${count(cards.length, "card")} on ${count(picture.nodes.length, "node")}, ${gib(cards.reduce((sum, card) => sum + card.total_mib, 0))}`];
  if (down.length) words.push(`${down.join(", ")} down`);
  words.push(short.length ? `not all replicas of ${short.join(", ")} serve` : picture.models.length ? "every model serves" : "no models");
  return words.join("; ");
}

function theme(wanted) {
  document.documentElement.dataset.theme = wanted;
  text(byId("theme"), wanted === "dark" ? "Light" : "Dark");
}

// A link may bring the key in its fragment, which no server sees; it goes out of the address bar at once.
function keyOfLink() {
  const brought = new URLSearchParams(location.hash.slice(1)).get("key");
  if (brought) history.replaceState(null, "", location.pathname);
  return brought;
}

function begin() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme(localStorage.getItem(THEME) ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => localStorage.getItem(THEME) || theme(dark.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => {
    const wanted = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem(THEME, wanted);
    theme(wanted);
  });
  byId("leave").addEventListener("click", () => (leave(), byId("key").focus()));
  byId("enter").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("key").value.trim();
    byId("key").value = "";
    if (key) enter(key);
  });
  addEventListener("hashchange", () => {
    const brought = keyOfLink();
    if (brought) enter(brought);
  });
  const key = keyOfLink() ?? sessionStorage.getItem(KEY);
  if (key) enter(key);
}

begin();
