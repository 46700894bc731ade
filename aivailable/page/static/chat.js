// A chat with one model: the browser asks a gateway, with the key of this page; another gateway when one is gone.

import { byId, element, text } from "./dom.js";
import { events } from "./live.js";

const SYSTEM = { role: "system", content: "You are a helpful assistant." }; // as `aivailable chat` says

export class Chat {
  constructor(key) {
    this.key = key;
    this.gateways = [];
    this.messages = [];
    this.running = null;
    this.form = byId("chat");
    this.talk = byId("talk");
    this.words = byId("words");
    this.leaving = new AbortController();
    const on = (node, event, act) => node.addEventListener(event, act, { signal: this.leaving.signal });
    on(this.form, "submit", (event) => (event.preventDefault(), this.send()));
    on(this.words, "keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.send();
      }
    });
    on(byId("halt"), "click", () => this.running?.abort());
    on(byId("anew"), "click", () => this.anew());
  }

  end() {
    this.running?.abort();
    this.leaving.abort();
    this.anew();
  }

  anew() {
    this.running?.abort();
    this.messages = [];
    this.talk.replaceChildren();
    text(byId("speed"), "");
    this.words.focus();
  }

  offer(models, gateways, you) {
    this.gateways = gateways;
    const select = byId("model");
    const usable = models.filter((model) => !you.models.length || you.models.includes(model.name));
    const wanted = usable.map((model) => model.name).join("\n");
    if (select.dataset.names !== wanted) {
      const chosen = select.value;
      select.replaceChildren(...usable.map((model) => element("option", { value: model.name }, model.name)));
      if (usable.some((model) => model.name === chosen)) select.value = chosen;
      select.dataset.names = wanted;
    }
    byId("send").disabled = !usable.length || Boolean(this.running);
  }

  async send() {
    const question = this.words.value.trim();
    const model = byId("model").value;
    if (!question || !model || this.running) return;
    this.words.value = "";
    const messages = this.messages; // of this conversation, whatever is begun anew meanwhile
    messages.push({ role: "user", content: question });
    this.say("user", "You", question);
    const answer = this.say("assistant", model, "");
    this.running = new AbortController();
    this.busy(true, answer);
    const begun = performance.now();
    let words = "";
    let pieces = 0;
    try {
      for await (const piece of this.ask(model, messages, this.running.signal)) {
        words += piece;
        pieces += 1;
        answer.lastChild.textContent = words;
        this.talk.scrollTop = this.talk.scrollHeight;
      }
      text(byId("speed"), `${pieces} pieces in ${((performance.now() - begun) / 1000).toFixed(1)} s`);
    } catch (error) {
      const stopped = error.name === "AbortError";
      answer.append(element("p", { class: stopped ? "hint" : "bad" }, stopped ? "Stopped." : error.message));
    }
    // A question that got no word of an answer is not part of the conversation: the next one would repeat it.
    if (words) messages.push({ role: "assistant", content: words });
    else messages.pop();
    this.running = null;
    this.busy(false, answer);
  }

  // The pieces of an answer. A gateway that cannot be reached at all is not asked again; the next one is.
  async *ask(model, messages, signal) {
    let trouble = new Error("no gateway is up: `aivailable status` on a terminal says more");
    for (const base of this.gateways) {
      let answer;
      try {
        answer = await fetch(`${base}/chat/completions`, {
          method: "POST",
          headers: { authorization: `Bearer ${this.key}`, "content-type": "application/json" },
          body: JSON.stringify({ model, messages: [SYSTEM, ...messages], stream: true }),
          signal,
        });
      } catch (error) {
        if (error.name === "AbortError") throw error;
        const untrusted = base.startsWith("https:") ? "; if its certificate is its own, open that address once and accept it" : "";
        trouble = new Error(`the gateway ${base} cannot be reached from this browser${untrusted}`);
        continue;
      }
      if (!answer.ok) throw new Error(await refusal(answer));
      yield* pieces(answer.body);
      return;
    }
    throw trouble;
  }

  say(role, who, words) {
    const message = element("div", { class: `message ${role}` }, element("strong", {}, who), element("p", {}, words));
    this.talk.append(message);
    this.talk.scrollTop = this.talk.scrollHeight;
    return message;
  }

  busy(on, answer) {
    answer.setAttribute("aria-busy", String(on)); // readers hear the whole answer, not each piece
    byId("send").disabled = on;
    byId("halt").hidden = !on;
    if (!on) this.words.focus();
  }
}

async function* pieces(body) {
  for await (const event of events(body)) {
    if (event.data === "[DONE]") return;
    if (!event.data) continue;
    const found = JSON.parse(event.data);
    if (found.error) throw new Error(found.error.message ?? "the engine broke off");
    const piece = found.choices?.[0]?.delta?.content;
    if (piece) yield piece;
  }
}

async function refusal(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `the gateway answered ${answer.status}`;
  }
}
