// The events, kept fresh: the same page is fetched again, and its rows take the place of the old ones when there are new.

import { keepFresh } from "./live.js";

function replaceRows(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const first = (page) => page.querySelector("#events tr")?.dataset.key;
  const content = document.getElementById("content");
  if (first(fresh) === first(document) || content.contains(document.getSelection().anchorNode)) return;
  const [old, now] = [document, fresh].map((page) => page.getElementById("events"));
  if (old && now) old.replaceChildren(...now.childNodes);
  else content.replaceChildren(...fresh.getElementById("content").childNodes);
}

keepFresh("/admin/events", "text/html", replaceRows, 2);
