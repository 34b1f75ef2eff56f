/* A sheet of questions: shows one pair at a time, keeps the answers, gives them back as the sheet's CSV. */

const el = (id) => document.getElementById(id);
const data = JSON.parse(el("data").textContent);
el("data").remove(); // the pictures stay in memory once
const { rows, pictures } = data;

const TODO = "-", SAME = "1", DIFFERENT = "0", UNSURE = "?";
const NAMES = { [TODO]: "todo", [SAME]: "same", [DIFFERENT]: "different", [UNSURE]: "unsure" };
const KEY = `mmprod-sheet:${data.key}`, LANGUAGE_KEY = "mmprod-sheet:language";
const AHEAD = 3; // questions whose pictures are decoded before they are shown
const KEPT_IMAGES = 4 * (AHEAD + 2);

let labels = rows.map(() => TODO);
let view = rows.map((_, i) => i); // the rows the filter shows, fixed until it is set again
let at = 0; // place in `view`
let language = "en";
const past = []; // [row, label before], for undo

/* ---- keeping answers ---- */

function store(key, value) {
  try {
    localStorage.setItem(key, value);
    return true;
  } catch {
    return false; // private window, full, or switched off
  }
}

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function save() {
  const kept = store(KEY, JSON.stringify({ labels: labels.join(""), name: el("name").value, row: view[at] }));
  el("warning").hidden = kept;
  el("warning").textContent = kept ? "" : word("notKept");
}

/* Take up what this browser kept; false where there is nothing (usable). */
function resume() {
  let kept;
  try {
    kept = JSON.parse(stored(KEY));
  } catch {
    return false;
  }
  if (!kept || typeof kept.labels !== "string" || kept.labels.length !== rows.length) return false;
  labels = Array.from(kept.labels, (label) => (label in NAMES ? label : TODO));
  el("name").value = kept.name ?? data.reviewer;
  at = Math.max(0, view.indexOf(kept.row));
  return true;
}

/* ---- answering ---- */

function answer(label) {
  past.push([view[at], labels[view[at]]]);
  labels[view[at]] = label;
  if (at + 1 < view.length) at += 1;
  else finish();
  save();
  show();
}

function undo() {
  if (!past.length) return;
  const [row, before] = past.pop();
  labels[row] = before;
  if (!view.includes(row)) choose("all");
  at = view.indexOf(row);
  save();
  show();
}

function walk(step) {
  at = Math.min(Math.max(at + step, 0), view.length - 1);
  save();
  show();
}

function choose(filter) {
  const row = view[at];
  const every = rows.map((_, i) => i);
  const wanted = every.filter((i) => NAMES[labels[i]] === filter);
  view = wanted.length ? wanted : every;
  el("filter").value = wanted.length ? filter : "all";
  at = Math.max(0, view.findIndex((i) => i >= row));
  show();
}

function counts() {
  const found = { todo: 0, same: 0, different: 0, unsure: 0 };
  for (const label of labels) found[NAMES[label]] += 1;
  return found;
}

/* ---- showing ---- */

const images = new Map(); // decoded pictures, the latest used last

/* An element that is decoded once and moved into place, so that nothing flickers. */
function image(side, place) {
  const key = `${place}${side.picture}`;
  let found = images.get(key);
  if (!found) {
    found = new Image();
    found.src = `data:image/jpeg;base64,${pictures[side.picture]}`;
    found.draggable = false;
    found.decode().catch(() => {
      pictures[side.picture] = ""; // no picture after all
      show();
    });
  }
  images.delete(key);
  images.set(key, found);
  if (images.size > KEPT_IMAGES) images.delete(images.keys().next().value);
  return found;
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function face(side, place) {
  if (side.text) return element("span", side.title, "query");
  if (side.picture === null || !pictures[side.picture]) return element("span", word("noPicture"), "none");
  const found = image(side, place);
  found.alt = side.title || word("noTitle");
  return found;
}

function showSide(place, side, other) {
  const article = el(place);
  const box = article.querySelector(".picture");
  box.disabled = side.text;
  const shown = face(side, place);
  if (box.firstChild !== shown) box.replaceChildren(shown);
  article.querySelector("h2").textContent = side.text ? word("searched") : side.title || word("noTitle");
  article.querySelector(".id").textContent = side.text ? "" : side.id;
  const facts = side.facts.map(([name, value]) => {
    const line = document.createElement("div");
    const elsewhere = other.facts.find(([otherName]) => otherName === name);
    line.className = elsewhere && elsewhere[1] !== value ? "differs" : "";
    line.append(element("dt", WORDS[language].facts[name] ?? name), element("dd", value));
    return line;
  });
  article.querySelector("dl").replaceChildren(...facts);
  article.querySelector(".words").scrollTop = 0;
}

function show() {
  const row = rows[view[at]], label = NAMES[labels[view[at]]], [left, right] = row.sides;
  zoom(false);
  showSide("left", left, right);
  showSide("right", right, left);
  el("asked").textContent = word(left.text || right.text ? "askFits" : "askSame");
  el("note").textContent = row.note;
  el("count").textContent = `${at + 1} / ${view.length}`;
  el("back").disabled = at === 0;
  el("forward").disabled = at === view.length - 1;
  el("undo").disabled = !past.length;
  for (const name of ["same", "different", "unsure"]) el(name).setAttribute("aria-pressed", name === label);
  for (const name of ["same", "different"]) {
    el(name).querySelector(".word").textContent = answerWord(name, row);
  }
  const said = label === "todo" ? "" : answerWord(label, row);
  const told = { at: at + 1, n: view.length, left: left.title, right: right.title, label: said };
  el("live").textContent = word("live", told);
  showProgress();
  for (const next of view.slice(at + 1, at + 1 + AHEAD)) {
    rows[next].sides.forEach((side, i) => face(side, i ? "right" : "left"));
  }
}

function answerWord(name, row) {
  const text = row.sides.some((side) => side.text);
  return word(text && name === "same" ? "fits" : text && name === "different" ? "fitsNot" : name);
}

function showProgress() {
  const found = counts();
  for (const part of el("progress").children) part.style.flexGrow = found[part.className];
  el("progress").setAttribute("aria-valuemax", rows.length);
  el("progress").setAttribute("aria-valuenow", rows.length - found.todo);
  for (const option of el("filter").options) {
    option.textContent = `${word(option.value)} ${found[option.value] ?? rows.length}`;
  }
  el("who").textContent = el("name").value.trim() || word("noName");
}

function finish() {
  const found = counts();
  const numbers = { n: rows.length, answered: found.same + found.different, ...found };
  el("done-title").textContent = word(found.todo ? "doneTitle" : "allDone");
  el("done-lead").textContent = word("doneLead", numbers);
  el("rest").textContent = found.todo ? word("showRest", { n: found.todo }) : word("look");
  el("done").showModal();
}

/* ---- zoom: both pictures around the same point ---- */

function zoom(on, event) {
  el("pair").classList.toggle("zoomed", on);
  if (on) aim(event);
}

function aim(event) {
  const pointed = event && event.detail !== 0 && event.currentTarget instanceof Element;
  const box = pointed && event.currentTarget.getBoundingClientRect();
  const share = (value) => `${Math.min(Math.max(value, 0), 1) * 100}%`;
  el("pair").style.setProperty("--x", pointed ? share((event.clientX - box.left) / box.width) : "50%");
  el("pair").style.setProperty("--y", pointed ? share((event.clientY - box.top) / box.height) : "50%");
}

const zoomed = () => el("pair").classList.contains("zoomed");

/* ---- the file to hand in: as eval/sheets/comma.py writes it ---- */

const guard = (cell) => (/^[=+\-@\t\r\n＝＋－＠']/.test(cell) ? `'${cell}` : cell);
const quote = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

function csv() {
  const name = guard(el("name").value.trim());
  const lines = rows.map(({ cells }, i) => {
    const answered = labels[i] === SAME || labels[i] === DIFFERENT;
    return answered ? [...cells.slice(0, 5), labels[i], name] : cells;
  });
  return "\ufeff" + [data.columns, ...lines].map((cells) => cells.map(quote).join(",") + "\r\n").join("");
}

function download() {
  if (!el("name").value.trim()) return openStart("nameFirst");
  const link = document.createElement("a");
  const who = el("name").value.trim().replace(/[^\p{L}\p{N}]+/gu, "-");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
  link.download = `${data.name}-${who}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/* ---- words ---- */

function word(name, numbers = {}) {
  return WORDS[language][name].replace(/\{(\w+)\}/g, (_, key) => numbers[key]);
}

function speak(chosen) {
  language = chosen;
  document.documentElement.lang = { en: "en", zh: "zh-CN" }[language];
  for (const part of document.querySelectorAll("[data-word]")) part.textContent = word(part.dataset.word);
  for (const part of document.querySelectorAll("[data-label]")) {
    part.setAttribute("aria-label", word(part.dataset.label));
    part.title = word(part.dataset.label);
  }
  el("language").textContent = word("other");
  show();
}

function openStart(message) {
  const lead = rows[0].sides.some((side) => side.text) ? "leadText" : "lead";
  el("start-lead").textContent = word(message ?? lead, { n: rows.length });
  el("start").showModal();
  el(el("name").value ? "begin" : "name").focus();
}

/* ---- keys, clicks and taps ---- */

const KEYS = {
  1: () => answer(SAME), s: () => answer(SAME),
  0: () => answer(DIFFERENT), d: () => answer(DIFFERENT),
  " ": () => answer(UNSURE), u: () => answer(UNSURE),
  arrowleft: () => walk(-1), arrowright: () => walk(1),
  z: undo, x: () => zoom(!zoomed()), escape: () => zoom(false), "?": () => openStart(),
};

/* The key as printed on it, also while an input method (Chinese, Cyrillic, …) takes the letters. */
function keyOf(event) {
  const plain = event.key.length === 1 && event.key <= "~";
  return (plain ? event.key : event.code.replace(/^(Key|Digit|Numpad)/, "")).toLowerCase();
}

document.addEventListener("keydown", (event) => {
  const key = keyOf(event), focused = event.target;
  const elsewhere = focused.matches("select") || document.querySelector("dialog[open]");
  const pressesButton = key === " " && focused.matches("button:not(dialog button)"); // reached by Tab
  if (elsewhere || pressesButton || event.ctrlKey || event.metaKey || event.altKey) return;
  if (!KEYS[key] || (event.repeat && !key.startsWith("arrow"))) return; // a key held down answers once
  event.preventDefault();
  KEYS[key]();
});

const clicks = {
  same: () => answer(SAME), different: () => answer(DIFFERENT), unsure: () => answer(UNSURE),
  back: () => walk(-1), forward: () => walk(1), undo, help: () => openStart(), who: () => openStart(),
  download, language: () => { speak(language === "en" ? "zh" : "en"); store(LANGUAGE_KEY, language); },
  "done-download": download, rest: () => choose(counts().todo ? "todo" : "all"),
};
for (const [id, action] of Object.entries(clicks)) {
  el(id).addEventListener("click", (event) => {
    if (event.detail) el(id).blur(); // after a click by mouse the space bar means "unsure", not this button
    action();
  });
}
el("filter").addEventListener("change", () => { choose(el("filter").value); el("filter").blur(); });
el("name").addEventListener("input", () => { save(); showProgress(); });
for (const box of document.querySelectorAll(".picture")) {
  box.addEventListener("click", (event) => { zoom(!zoomed(), event); if (event.detail) box.blur(); });
  box.addEventListener("pointermove", (event) => { if (zoomed()) aim(event); });
}
window.addEventListener("storage", (event) => { if (event.key === KEY && resume()) show(); }); // another tab
window.addEventListener("beforeunload", (event) => {
  if (!el("warning").hidden && past.length) event.preventDefault();
});

/* ---- begin ---- */

const facts = rows.flatMap((row) => row.sides.map((side) => side.facts.length));
const most = facts.reduce((a, b) => Math.max(a, b)); // room for these on every question: nothing moves
el("pair").style.setProperty("--facts", most);
el("note").hidden = !rows.some((row) => row.note);
el("name").value = data.reviewer;
const fresh = !resume();
const chosen = stored(LANGUAGE_KEY), own = navigator.language.startsWith("zh") ? "zh" : "en";
speak(chosen in WORDS ? chosen : own);
save();
if (fresh) openStart();
