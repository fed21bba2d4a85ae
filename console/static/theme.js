// The theme that was chosen here, before anything is painted. Without one, and without scripts, the system's is taken.
(() => {
  const root = document.documentElement;
  const key = "sensorium-theme";
  const stored = () => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // storage is switched off: the choice lasts for this page
    }
  };
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  const chosen = stored();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        root.dataset.theme = dark() ? "light" : "dark";
        try {
          localStorage.setItem(key, root.dataset.theme);
        } catch {
          // as above
        }
        // Whoever paints by hand (charts, drawings) listens for this.
        root.dispatchEvent(new CustomEvent("themechange", { bubbles: true }));
      });
    }
  });
})();
