// The verdict on the ring: asked for when the page opens and when the ring changes, and again while it is not right.

const TIMEOUT_MS = 20000;

const button = document.getElementById("check-now");
const result = () => document.getElementById("check-result");

const wrong = new Set(); // keys of the nodes of all violations shown

let asking = false;
let seen = null; // what the ring was like when the check was last asked for

export function markWrong() {
  for (const element of document.querySelectorAll("#nodes .node, #rows tr")) {
    element.classList.toggle("wrong", wrong.has(element.dataset.key));
  }
}

async function check() {
  if (asking) return;
  asking = true;
  button.textContent = "Checking…";
  try {
    const answer = await fetch(`${location.origin}/admin/ring/check`, {
      headers: { Accept: "text/html" },
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    show(new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("check-result"));
  } catch {
    seen = null; // the page says itself that the node does not answer
  } finally {
    asking = false;
    button.textContent = "Check again";
  }
}

function show(fresh) {
  const old = result();
  old.dataset.consistent = fresh.dataset.consistent;
  if (old.innerHTML !== fresh.innerHTML) old.replaceChildren(...fresh.childNodes);
  wrong.clear();
  for (const item of old.querySelectorAll("[data-nodes]")) item.dataset.nodes.split(" ").forEach((key) => wrong.add(key));
  markWrong();
}

// `ring`: a text that differs when the ring does.
export function ringSeen(ring) {
  if (ring === seen && result().dataset.consistent === "true") return;
  seen = ring;
  check();
}

button.addEventListener("click", (event) => {
  event.preventDefault();
  check();
});
