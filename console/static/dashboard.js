// Draws the dashboard's charts over the numbers that the page has already, and asks for the newest every half minute while today is shown.
const root = document.querySelector("[data-figures]");
const state = document.querySelector("[data-state]");
const EVERY_MS = 30000;
const WAIT_MS = 15000;
const drawn = [];

// The reader's own time zone, unless one was chosen.
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
const chosen = new URLSearchParams(location.search);
if (own && own !== "UTC" && !chosen.has("timezone")) {
  chosen.set("timezone", own);
  location.replace(`${location.pathname}?${chosen}`);
}

const colour = (name) => getComputedStyle(canvasColour(name)).color;
const probes = new Map();
function canvasColour(name) {
  if (!probes.has(name)) {
    const probe = document.createElement("span");
    probe.className = `probe ${name}`;
    document.body.append(probe);
    probes.set(name, probe);
  }
  return probes.get(name);
}

const axis = (extra = {}) => ({
  beginAtZero: true,
  grid: { color: colour("line") },
  border: { color: colour("line") },
  ticks: { color: colour("soft"), maxRotation: 0, autoSkipPadding: 16 },
  ...extra,
});

const base = (scales, legend = true) => ({
  responsive: true,
  maintainAspectRatio: false,
  animation: false,
  interaction: { mode: "index", intersect: false },
  plugins: { legend: { display: legend, labels: { color: colour("text"), boxWidth: 14 } } },
  scales,
});

const line = (label, data, name) => ({
  label, data, borderColor: colour(name), backgroundColor: colour(name), borderWidth: 2, pointRadius: data.length > 60 ? 0 : 2, tension: 0.25, spanGaps: true,
});
const bars = (label, data, name) => ({ label, data, backgroundColor: colour(name), borderRadius: 3, maxBarThickness: 42 });

const charts = {
  people: ({ labels, series }) => ({
    type: "bar",
    data: { labels, datasets: [bars("Passing by", series.passing_by, "chart-1"), bars("Interested", series.interested, "chart-2")] },
    options: base({ x: axis({ grid: { display: false } }), y: axis({ ticks: { color: colour("soft"), precision: 0 } }) }),
  }),
  times: ({ labels, series }) => ({
    type: "line",
    data: { labels, datasets: [line("Stopping, s", series.stop_time, "chart-1"), line("Attention, s", series.attention_time, "chart-3")] },
    options: base({ x: axis({ grid: { display: false } }), y: axis() }),
  }),
  satisfaction: ({ labels, series }) => ({
    type: "line",
    data: { labels, datasets: [line("Satisfaction, %", series.satisfaction.map((value) => value === null ? null : 100 * value), "chart-4")] },
    options: base({ x: axis({ grid: { display: false } }), y: axis({ max: 100 }) }, false),
  }),
  gender: ({ gender }) => ({
    type: "bar",
    data: { labels: ["Women", "Men", "Not known"], datasets: [bars("People", [gender.female, gender.male, gender["?"]], "chart-1")] },
    options: { ...base({ x: axis({ ticks: { color: colour("soft"), precision: 0 } }), y: axis({ grid: { display: false } }) }, false), indexAxis: "y" },
  }),
  category: ({ category }) => ({
    type: "bar",
    data: {
      labels: ["Younger", "Senior"],
      datasets: [bars("Women", [category.young_female, category.senior_female], "chart-2"), bars("Men", [category.young_male, category.senior_male], "chart-3")],
    },
    options: { ...base({ x: axis({ ticks: { color: colour("soft"), precision: 0 } }), y: axis({ grid: { display: false } }) }), indexAxis: "y" },
  }),
};

function draw() {
  while (drawn.length) drawn.pop().destroy();
  const place = root.querySelector("[data-series]");
  const figures = JSON.parse(place.dataset.series);
  for (const box of place.querySelectorAll("[data-chart]")) {
    const canvas = document.createElement("canvas");
    box.hidden = false;
    box.replaceChildren(canvas);
    drawn.push(new Chart(canvas, charts[box.dataset.chart](figures)));
  }
  root.dataset.drawn = String(drawn.length); // for whoever waits for it
  performance.mark("drawn");
}

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(root.dataset.figures, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(WAIT_MS) });
    if (answer.redirected) return location.reload(); // signed out
    if (!answer.ok) throw new Error(String(answer.status));
    const opened = root.querySelector("details")?.open;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    root.replaceChildren(...fresh.body.childNodes);
    if (opened) root.querySelector("details").open = true;
    draw();
    state.textContent = "";
    root.removeAttribute("data-stale");
  } catch {
    state.textContent = "No answer; trying again";
    root.setAttribute("data-stale", "");
  }
}

if (root.querySelector("[data-series]")) draw();
if ("open" in root.dataset) {
  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
}
// Colours follow the theme, whoever changes it.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
