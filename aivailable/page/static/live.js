// The picture as it changes: server-sent events, read by fetch because an EventSource cannot send a key.

const PAUSE_LEAST_MS = 500;
const PAUSE_MOST_MS = 10_000;
const SILENT_MS = 40_000; // the server says something at least every 15 s

export class Denied extends Error {}

// Calls `on.picture(document)` for each picture and `on.state("live" | "lost")`; ends with `on.denied(message)`.
export async function follow(key, signal, on) {
  let pause = PAUSE_LEAST_MS;
  while (!signal.aborted) {
    try {
      await once(key, signal, (found) => {
        pause = PAUSE_LEAST_MS;
        on.state("live");
        try {
          on.picture(found);
        } catch (error) {
          reportError(error); // a mistake of ours is no lost connection
        }
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Denied) return on.denied(error.message);
    }
    on.state("lost");
    await wait(pause, signal);
    pause = Math.min(2 * pause, PAUSE_MOST_MS);
  }
}

async function once(key, signal, onPicture) {
  const ended = new AbortController();
  const silent = () => ended.abort();
  let alarm = setTimeout(silent, SILENT_MS);
  signal.addEventListener("abort", silent);
  try {
    const answer = await fetch("api/live", {
      headers: { authorization: `Bearer ${key}` },
      signal: ended.signal,
      cache: "no-store",
    });
    if (answer.status === 401) throw new Denied((await answer.json()).error.message);
    if (!answer.ok) throw new Error(`the page's server answered ${answer.status}`);
    for await (const event of events(answer.body)) {
      clearTimeout(alarm);
      alarm = setTimeout(silent, SILENT_MS);
      if (event.name === "denied") throw new Denied(JSON.parse(event.data).message);
      if (event.name === "picture") onPicture(JSON.parse(event.data));
    }
  } finally {
    clearTimeout(alarm);
    signal.removeEventListener("abort", silent);
  }
}

// The events of a stream, {name, data}; comments come as events without a name.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) yield event(block);
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever stops reading wants the connection closed
  }
}

function event(block) {
  const lines = block.split(/\r?\n/);
  const of = (field) =>
    lines
      .filter((line) => line.startsWith(`${field}:`))
      .map((line) => line.slice(field.length + 1).replace(/^ /, ""));
  return { name: of("event").at(-1) ?? "", data: of("data").join("\n") };
}

function wait(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
