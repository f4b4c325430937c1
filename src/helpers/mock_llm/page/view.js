"use strict";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1600, LANE = 34, AXIS = 34, LABEL = 80;
const WINDOW = 20; // seconds on the timeline
const LANES = 16; // drawn; the counts include all
const LATEST = 5;
const KEPT = 5000; // requests
const byId = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

const requests = new Map(); // those in flight and those on the timeline
const connections = new Set();
const totals = { answered: 0, limited: 0, failed: 0, left: 0 };
const peaks = { connections: 0, "in-flight": 0, streams: 0 };
const latest = [];
let clock = null; // the server's seconds minus the browser's
let lastEvent = null;

const now = () => performance.now() / 1000 + (clock ?? 0);
// Numbers start again after a reset, while requests go on.
const key = (request) => `${request.id} ${request.arrival}`;
const end = (request) => request.last_byte ?? request.client_left;

function outcome(request) {
  if (!request.over) return "open";
  if (request.client_left !== null) return "left";
  if (request.status === 429) return "limited";
  return request.fault !== null || request.status === null || request.status >= 400 ? "failed" : "answered";
}

function word(request) {
  if (request.over && request.client_left !== null) return "left";
  if (request.status === 429) return "429"; // whatever fault it was
  if (request.fault !== null) return String(request.fault);
  return request.status >= 400 ? String(request.status) : "";
}

function freeLane(arrival) {
  const taken = new Set();
  for (const each of requests.values()) {
    const room = word(each) ? 1 : 0.2; // seconds that a bar's word takes
    if (!each.over || each.over > arrival - room) taken.add(each.lane);
  }
  for (let lane = 0; ; lane++) if (!taken.has(lane)) return lane;
}

function note(request) {
  const known = requests.get(key(request));
  if (known?.over) return known;
  const seen = { ...request, lane: known?.lane ?? freeLane(request.arrival), over: known?.over ?? null };
  requests.set(key(request), seen);
  if (requests.size > KEPT) requests.delete(requests.keys().next().value);
  return seen;
}

function finish(request, time) {
  const seen = note(request);
  if (seen.over) return;
  seen.over = end(request) ?? time;
  count(seen);
}

function count(seen) {
  const kind = outcome(seen);
  totals[kind] += 1;
  if (kind !== "answered") say(`request ${seen.id}: ${word(seen) || "ended early"}${seen.model ? ` (${seen.model})` : ""}`);
}

function say(sentence) {
  latest.unshift(sentence);
  latest.length = Math.min(latest.length, LATEST);
}

function reset() {
  for (const [name, each] of requests) if (each.over) requests.delete(name);
  for (const name in totals) totals[name] = 0;
  for (const name in peaks) peaks[name] = 0;
  latest.length = 0;
}

function take(name, data) {
  if (typeof data.time === "number") clock = data.time - performance.now() / 1000;
  if (name === "reset") reset();
  else if (name === "missed") say(`${data.count} events came too fast for this page`);
  else if (name === "opened") connections.add(data.connection.id);
  else if (name === "closed") connections.delete(data.connection.id);
  else if (name === "finished") finish(data.request, data.time);
  else if (data.request) note(data.request);
  const flying = [...requests.values()].filter((each) => !each.over);
  const counts = {
    connections: connections.size,
    "in-flight": flying.length,
    streams: flying.filter((each) => each.streamed).length,
  };
  for (const id in counts) peaks[id] = Math.max(peaks[id], counts[id]);
  return counts;
}

/** What happened before the page was opened. */
function begin(ledger) {
  for (const each of ledger.connections) if (each.closed === null) connections.add(each.id);
  const newest = Math.max(0, ...ledger.requests.slice(-KEPT).map((each) => end(each) ?? each.arrival));
  for (const each of ledger.requests) {
    // One that was cut off has no end, but its connection has.
    const over = end(each) ?? (connections.has(each.connection) ? null : each.arrival);
    if (over === null) note(each);
    else if (over > newest - WINDOW) finish(each, over);
    else count({ ...each, over });
  }
}

function element(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text; // what clients send is text, never markup
  return made;
}

function bar(svg, request, x, time) {
  const top = request.lane * LANE + 3;
  const until = request.over ?? time;
  const parts = [["queue", request.arrival, request.slot ?? until], ["reading", request.slot ?? until, request.first_token ?? until]];
  const kind = outcome(request);
  for (const [name, from, to] of parts) {
    if (to > from) svg.append(element("rect", { class: name, x: x(from), y: top + 5, width: x(to) - x(from), height: LANE - 18 }));
  }
  const from = request.first_token ?? (request.over ? Math.max(request.arrival, until - 0.05) : until);
  svg.append(element("rect", { class: kind, x: x(from), y: top, width: Math.max(6, x(until) - x(from)), height: LANE - 6 }));
  const said = word(request);
  if (said) svg.append(element("text", { x: x(until) + 10, y: top + LANE - 10 }, said));
}

function timeline(sentence) {
  const time = now();
  const x = (at) => Math.max(0, (WIDTH - LABEL) * (1 - (time - at) / WINDOW));
  for (const [name, each] of requests) if (each.over && each.over < time - WINDOW) requests.delete(name);
  const shown = [...requests.values()].filter((each) => each.lane < LANES);
  const lanes = Math.max(6, 1 + Math.max(0, ...shown.map((each) => each.lane)));
  const height = lanes * LANE + AXIS;
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": sentence });
  for (let back = 0; back <= WINDOW; back += 5) {
    const at = x(time - back);
    svg.append(element("line", { x1: at, x2: at, y1: 0, y2: lanes * LANE }));
    svg.append(element("text", { class: "axis", x: at, y: height - 8, "text-anchor": back === WINDOW ? "start" : "middle" }, back ? `${back} s ago` : "now"));
  }
  for (const each of shown) bar(svg, each, x, time);
  byId("timeline").replaceChildren(svg);
}

function show() {
  const counts = take("", {});
  for (const id in counts) {
    byId(id).textContent = counts[id];
    byId(`peak-${id}`).textContent = peaks[id];
  }
  for (const id in totals) byId(id).textContent = totals[id];
  timeline(`${counts["in-flight"]} requests in flight on ${counts.connections} connections, ` +
    `${totals.answered} answered, ${totals.limited} times 429, ${totals.failed} faults and errors, ${totals.left} left by the client.`);
  byId("latest").replaceChildren(...(latest.length ? latest : ["Nothing has gone wrong yet."]).map((sentence) => {
    const item = document.createElement("li");
    item.textContent = sentence;
    return item;
  }));
}

function tell(sentence, lost = false) {
  byId("state").textContent = sentence;
  byId("state").className = lost ? "lost" : "";
}

/** Calls `each` with the name and the data of every server-sent event, until the stream ends. */
async function read(body, each) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (fields.id) lastEvent = fields.id;
      if (fields.data) each(fields.event, JSON.parse(fields.data));
    }
  }
}

/** The page cannot go on: another try would be refused too, and be a connection in the ledger. */
class Refused extends Error {}

/** Follows the events until the connection ends. Throws a sentence if it cannot. */
async function follow() {
  const headers = { "x-mock-token": decodeURIComponent(location.hash.slice(1)) };
  const again = lastEvent === null ? {} : { "last-event-id": lastEvent };
  const events = await fetch("events", { cache: "no-store", headers: { ...headers, ...again, accept: "text/event-stream" } });
  if (events.status === 403) throw new Refused("Open this page by the address that llm.view() shows: it ends in #, followed by the control token.");
  if (!events.ok) throw new Error(`The provider answers ${events.status}.`);
  requests.clear();
  connections.clear();
  reset();
  const ledger = await fetch("ledger", { cache: "no-store", headers });
  begin(await ledger.json());
  tell("live");
  await read(events.body, take);
}

async function run() {
  for (;;) {
    try {
      await follow();
      tell("The provider has ended. The page tries again by itself.", true);
    } catch (error) {
      if (error instanceof Refused) return tell(error.message, true);
      tell(error instanceof TypeError ? "The provider does not answer. The page tries again by itself." : error.message, true);
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

setInterval(() => { if (!document.hidden) show(); }, still ? 1000 : 125);
run();
