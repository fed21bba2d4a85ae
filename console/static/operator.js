// The operators' page, kept up to date: its sections are asked for again every two seconds while somebody looks.
const root = document.querySelector("[data-live-root]");
const state = document.querySelector("[data-live-state]");
const toggle = document.querySelector("[data-live-toggle]");
const EVERY_MS = 2000;
const WAIT_MS = 10000;
let paused = false;
let timer = 0;

// What has the focus or the pointer stays as it is: a button must not become another one's under somebody's finger.
const inUse = (section) => "steady" in section.dataset && (section.contains(document.activeElement) || section.matches(":hover"));

function replace(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const section of root.querySelectorAll("[data-live]")) {
    const next = fresh.querySelector(`[data-live="${section.dataset.live}"]`);
    if (next && next.innerHTML !== section.innerHTML && !inUse(section)) section.replaceChildren(...next.childNodes);
  }
}

async function look() {
  clearTimeout(timer);
  if (paused || document.hidden) return;
  try {
    const answer = await fetch(root.dataset.liveRoot, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(WAIT_MS) });
    if (answer.redirected || answer.status === 404) {
      location.reload(); // signed out, or no longer an operator
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    replace(await answer.text());
    state.textContent = "Live";
    root.removeAttribute("data-stale");
  } catch {
    state.textContent = "No answer; trying again";
    root.setAttribute("data-stale", "");
  }
  timer = setTimeout(look, EVERY_MS);
}

toggle.hidden = false;
toggle.addEventListener("click", () => {
  paused = !paused;
  toggle.textContent = paused ? "Go on" : "Pause";
  state.textContent = paused ? "Paused" : "Live";
  look();
});
document.addEventListener("visibilitychange", look);
state.textContent = "Live";
timer = setTimeout(look, EVERY_MS);
