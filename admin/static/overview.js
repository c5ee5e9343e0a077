// The overview, kept fresh: the same page is fetched again, and the parts that changed take the place of the old ones.

import { keepFresh } from "./live.js";

function replaceChanged(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  document.getElementById("state").replaceWith(fresh.getElementById("state"));
  const olds = document.querySelectorAll("#content .card, #content .tile");
  const news = fresh.querySelectorAll("#content .card, #content .tile");
  olds.forEach((old, place) => {
    const focused = old.contains(document.activeElement);
    if (!focused && old.innerHTML !== news[place].innerHTML) old.replaceChildren(...news[place].childNodes);
  });
}

keepFresh("/admin/", "text/html", replaceChanged, 3);
