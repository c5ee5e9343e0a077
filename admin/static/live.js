// Keeps a page fresh: asks again and again while the page is seen, and says so when the node does not answer.

const stale = document.getElementById("stale");
const content = document.getElementById("content");
const live = document.getElementById("live");
const liveText = live.querySelector(".live-text");
const pause = document.getElementById("pause");

const TIMEOUT_MS = 15000;
const FAILURES_SLOW = 5; // the wait grows with each failure up to this many times its length

// Fetches `path` every so many seconds and hands the text to `use`, which may return another number of seconds.
export function keepFresh(path, accept, use, seconds, first = seconds) {
  let timer = 0;
  let failures = 0;
  let answeredAt = new Date();
  let paused = false;
  let asking = false;

  const clock = (time) => time.toLocaleTimeString([], { hour12: false });

  async function ask() {
    asking = true;
    try {
      const answer = await fetch(location.origin + path, {
        headers: { Accept: accept },
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (!answer.ok) throw new Error(`it answers ${answer.status}`);
      seconds = use(await answer.text()) ?? seconds;
      failures = 0;
      answeredAt = new Date();
      stale.hidden = true;
      content.classList.remove("is-stale");
      liveText.textContent = `Live · ${clock(answeredAt)}`;
    } catch {
      failures = Math.min(failures + 1, FAILURES_SLOW);
      const told = `Stale since ${clock(answeredAt)}: the node does not answer.`;
      if (stale.textContent !== told) stale.textContent = told;
      stale.hidden = false;
      content.classList.add("is-stale");
      liveText.textContent = "Not live";
    } finally {
      asking = false;
    }
  }

  async function turn() {
    clearTimeout(timer);
    if (paused || document.hidden || asking) return;
    await ask();
    clearTimeout(timer);
    timer = setTimeout(turn, seconds * 1000 * (1 + failures));
  }

  document.addEventListener("visibilitychange", turn);
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    liveText.textContent = paused ? `Paused · ${clock(answeredAt)}` : "Live";
    turn();
  });
  live.hidden = false;
  timer = setTimeout(turn, first * 1000);
}
