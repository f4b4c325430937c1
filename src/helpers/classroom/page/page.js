"use strict";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1200, HEIGHT = 480, BOTTOM = 80, TOP = 40, SIDE = 20;
const MOST_BARS = 12;
const byId = (id) => document.getElementById(id);
let room = { learners: 0, questions: [], exercises: [] };
let chosen = null; // null follows the newest question

function element(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text; // learners' words are text, never markup
  return made;
}

function html(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

const amount = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });
const inWords = (unit) => (unit === "s" ? "seconds" : unit);
const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

/** A step of 1, 2 or 5 times a power of ten that covers the span in few bins. */
function niceStep(span) {
  const rough = span / MOST_BARS;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}

/** A bar for each value that was said, or for each of a few ranges: [label, count, is measured]. */
function bars({ predictions, measured }) {
  const said = measured === null ? predictions : [...predictions, measured];
  const values = [...new Set(said)].sort((a, b) => a - b);
  if (values.length <= MOST_BARS) {
    return values.map((value) => [amount(value), predictions.filter((each) => each === value).length, value === measured]);
  }
  // The few largest share the last bar, so that one of them does not squeeze the others.
  const most = Math.max(said[Math.floor(predictions.length * 0.95)], measured ?? 0, Number.MIN_VALUE);
  const step = niceStep(most);
  const last = Math.floor(most / step);
  const found = Array.from({ length: last + 1 }, (_, i) => [`${amount(i * step)} – ${amount((i + 1) * step)}`, 0, false]);
  found[last][0] = `${amount(last * step)} or more`;
  for (const value of predictions) found[Math.min(last, Math.floor(value / step))][1] += 1;
  if (measured !== null) found[Math.min(last, Math.floor(measured / step))][2] = true;
  return found;
}

function histogram(question) {
  const all = bars(question);
  const width = (WIDTH - 2 * SIDE) / Math.max(4, all.length);
  const scale = (HEIGHT - TOP - BOTTOM) / Math.max(1, ...all.map(([, n]) => n));
  const base = HEIGHT - BOTTOM;
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": sentence(question) });
  all.forEach(([label, n, isMeasured], i) => {
    const left = SIDE + i * width, middle = left + width / 2, top = base - n * scale;
    const words = { x: middle, "text-anchor": "middle" };
    if (n) svg.append(element("rect", { class: isMeasured ? "bar right" : "bar", x: left + 6, y: top, width: width - 12, height: n * scale }));
    if (n) svg.append(element("text", { ...words, y: top - 8, "font-size": 26 }, n));
    svg.append(element("text", { ...words, y: base + 34, class: isMeasured ? "measured" : "", "font-size": label.length * 14 > width ? 18 : 26 }, label));
    if (isMeasured) svg.append(element("text", { ...words, y: base + 68, class: "measured", "font-size": 26 }, "▲ measured"));
  });
  svg.append(element("line", { class: "axis", x1: SIDE, x2: WIDTH - SIDE, y1: base, y2: base }));
  return svg;
}

function sentence({ predictions, measured, unit, machines }) {
  const middle = predictions[Math.floor(predictions.length / 2)];
  const said = predictions.length > 1
    ? `${count(predictions.length, "prediction")} in ${inWords(unit)}; the median is ${amount(middle)}.`
    : `${count(predictions.length, "prediction")} in ${inWords(unit)}.`;
  return measured === null ? said : `${said} Measured: ${amount(measured)}, on ${count(machines, "machine")}.`;
}

function showQuestions() {
  const list = byId("questions");
  const focused = document.activeElement?.dataset?.index;
  list.replaceChildren(...room.questions.map((question, index) => {
    const button = html("button", `${question.lesson}: ${question.predictions.length}`);
    button.dataset.index = index;
    button.title = question.text;
    button.setAttribute("aria-label", `Lesson ${question.lesson}: ${question.text} (${count(question.predictions.length, "prediction")})`);
    button.setAttribute("aria-current", String(index === current()));
    button.addEventListener("click", () => { chosen = index; show(); });
    const item = html("li");
    item.append(button);
    return item;
  }));
  if (focused !== undefined) list.querySelector(`[data-index="${focused}"]`)?.focus();
}

function current() {
  return chosen ?? room.questions.length - 1;
}

function showQuestion() {
  const question = room.questions[current()];
  if (!question) return;
  byId("question").textContent = question.text;
  byId("summary").textContent = sentence(question);
  byId("histogram").replaceChildren(...(question.predictions.length ? [histogram(question)] : []));
}

function cell(n, names) {
  const made = html("td", String(n));
  if (names.length) {
    const unnamed = n - names.length;
    const text = names.join(", ") + (unnamed ? ` and ${unnamed} more` : "");
    made.append(html("span", ` ${text}`, "names"));
  }
  return made;
}

function showExercises() {
  if (!room.exercises.length) return;
  byId("exercises").replaceChildren(...room.exercises.map((exercise) => {
    const row = html("tr");
    const lesson = html("th", exercise.lesson);
    lesson.scope = "row";
    row.append(lesson, cell(exercise.solved, exercise.names), cell(exercise.stuck.count, exercise.stuck.names));
    return row;
  }));
}

function show() {
  byId("learners").textContent = room.learners ? count(room.learners, "learner") : "no learners yet";
  showQuestions();
  showQuestion();
  showExercises();
}

const events = new EventSource(`events${location.search}`);
events.onmessage = (event) => { room = JSON.parse(event.data); show(); };
events.onopen = () => { byId("lost").hidden = true; };
events.onerror = () => { byId("lost").hidden = false; };
