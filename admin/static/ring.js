// The ring page, kept fresh: elements stay what they are, only what changed in them is set. So focus and selection stay.

import { markWrong, ringSeen } from "./check.js";
import { keepFresh } from "./live.js";

const SVG = "http://www.w3.org/2000/svg";
const byId = (name) => document.getElementById(name);
const [svg, nodes, arcs, chords, rows, details] = ["ring", "nodes", "arcs", "chords", "rows", "details"].map(byId);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let view = null; // the last answer
let chosen = null; // key of the selected node, null when none is

function setText(element, text) {
  if (element.textContent === text) return false;
  element.textContent = text;
  return true;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

// Make the children of `parent` follow `items` by key: keep, add and remove, but never move one that stays in order.
function follow(parent, items, make, update) {
  const keys = new Set(items.map((item) => item.key));
  const old = new Map();
  for (const child of [...parent.children]) {
    if (keys.has(child.dataset.key)) old.set(child.dataset.key, child);
    else child.remove();
  }
  let cursor = parent.firstElementChild;
  for (const item of items) {
    const element = old.get(item.key) ?? make();
    element.dataset.key = item.key;
    update(element, item, old.has(item.key));
    if (element === cursor) cursor = cursor.nextElementSibling;
    else parent.insertBefore(element, cursor);
  }
}

function updateNode(element, node) {
  const find = (name) => element.querySelector(name);
  const classes = ["node", node.role, node.unmet && "unmet", node.quiet && "quiet"].filter(Boolean).join(" ");
  set(element, { class: classes, id: `node-${node.key}`, href: `#row-${node.key}`, "aria-label": node.aria });
  set(find(".stem"), { d: node.stem });
  set(find(".leader"), { d: node.leader });
  set(find(".dot"), { transform: `translate(${node.x} ${node.y})` });
  set(find(".grip"), { r: Math.max(view.dot * 1.5, 9) });
  set(find(".shape"), { d: view.shapes[node.role] });
  set(find(".mark"), { y: node.role === "predecessor" ? 0.1 * view.dot : 0 });
  setText(find(".mark"), view.dot > 6 && node.role !== "silent" ? node.mark : "");
  set(find(".label"), { x: node.label_x, y: node.label_y - (view.nodes.length <= 14 ? 7.5 : 0), "text-anchor": node.anchor });
  setText(find(".name"), node.name);
  updateNote(find(".note"), node);
}

function updateNote(note, node) {
  const lines = view.nodes.length <= 14;
  setText(note, lines ? node.note : node.mark);
  if (lines) {
    set(note, { x: node.label_x, dy: 15 });
    note.removeAttribute("dx");
  } else {
    set(note, { dx: 5 });
    note.removeAttribute("x");
    note.removeAttribute("dy");
  }
}

function updateRow(row, node, wasThere) {
  set(row, { id: `row-${node.key}`, class: node.role });
  for (const cell of row.querySelectorAll("[data-cell]")) {
    if (setText(cell, node.cells[cell.dataset.cell]) && wasThere) flash(cell);
  }
  set(row.querySelector("a"), { href: `#node-${node.key}` });
}

function flash(element) {
  if (calm.matches) return;
  const colour = getComputedStyle(element).getPropertyValue("--flash");
  element.animate([{ backgroundColor: colour }, { backgroundColor: "transparent" }], { duration: 1500, easing: "ease-out" });
}

const copyFirst = (parent) => () => {
  const copy = parent.firstElementChild.cloneNode(true);
  copy.removeAttribute("aria-current");
  return copy;
};

function use(text) {
  view = JSON.parse(text);
  const hadFocus = nodes.contains(document.activeElement);
  for (const element of document.querySelectorAll("[data-text]")) {
    setText(element, view.texts[element.dataset.text]);
    if (element.dataset.text === "notice") element.hidden = !view.texts.notice;
  }
  set(svg, { "aria-label": view.texts.heading });
  set(nodes, { "font-size": view.dot });
  // A node that left may be the only child to copy from, so new ones are copied from one that is there.
  const [copyNode, copyRow, copyArc] = [nodes, rows, arcs].map((parent) => {
    const copy = copyFirst(parent)();
    return () => copy.cloneNode(true);
  });
  follow(nodes, view.nodes, copyNode, updateNode);
  follow(rows, view.nodes, copyRow, updateRow);
  follow(arcs, view.nodes, copyArc, (arc, node) => set(arc, { class: `arc ${node.tone}`, d: node.arc }));
  follow(chords, view.chords, () => document.createElementNS(SVG, "path"), (chord, item) => set(chord, { class: "chord", "marker-end": "url(#finger-end)", d: item.d }));
  if (chosen && !view.nodes.some((node) => node.key === chosen)) {
    byId("announce").textContent = "The selected node has left the ring.";
    chosen = null;
  }
  markWrong();
  ringSeen(view.nodes.map((node) => `${node.key} ${node.role === "silent"}`).join());
  showChoice();
  if (hadFocus && !nodes.contains(document.activeElement)) nodes.firstElementChild.focus();
  return view.refresh_seconds;
}

function showChoice() {
  for (const element of [...nodes.children, ...rows.children]) {
    if (chosen && element.dataset.key === chosen) set(element, { "aria-current": "true" });
    else element.removeAttribute("aria-current");
  }
  for (const element of [...arcs.children, ...chords.children]) {
    element.classList.toggle("chosen", element.dataset.key === chosen);
  }
  const stop = chosen ?? nodes.firstElementChild.dataset.key; // one tab stop for the whole ring
  for (const element of nodes.children) set(element, { tabindex: element.dataset.key === stop ? 0 : -1 });
  showDetails();
}

function showDetails() {
  if (!view) return;
  const node = view.nodes.find((one) => one.key === chosen) ?? view.nodes[0];
  for (const element of details.querySelectorAll("[data-detail]")) {
    setText(element, node.cells[element.dataset.detail]);
    if (element.dataset.detail === "error") element.hidden = !node.cells.error;
  }
  const visit = byId("visit");
  visit.hidden = !node.admin_url || node === view.nodes[0];
  if (node.admin_url) set(visit, { href: `${node.admin_url}ring` });
}

function choose(key) {
  chosen = key;
  showChoice();
  if (view) {
    const node = view.nodes.find((one) => one.key === key);
    byId("announce").textContent = node ? node.aria : "";
  }
}

function step(places) {
  const all = [...nodes.children];
  const here = all.findIndex((element) => element.contains(document.activeElement));
  const there = all[(Math.max(here, 0) + places + all.length) % all.length];
  there.focus();
  choose(there.dataset.key);
}

const KEYS = {
  ArrowRight: () => step(1),
  ArrowDown: () => step(1),
  ArrowLeft: () => step(-1),
  ArrowUp: () => step(-1),
  Home: () => {
    nodes.firstElementChild.focus();
    choose(nodes.firstElementChild.dataset.key);
  },
  End: () => {
    nodes.lastElementChild.focus();
    choose(nodes.lastElementChild.dataset.key);
  },
  " ": () => choose(document.activeElement.dataset.key),
};

nodes.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen) choose(null);
});
nodes.addEventListener("click", (event) => {
  const node = event.target.closest(".node");
  if (!node) return;
  event.preventDefault();
  choose(node.dataset.key);
});
rows.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  event.preventDefault();
  choose(link.closest("tr").dataset.key);
  details.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
});

for (const element of document.querySelectorAll(".with-script")) element.hidden = false;
showChoice();
keepFresh("/admin/api/ring/view", "application/json", use, 2, 0);
