// Keeps the countdowns running between two refreshes, by the server's clock. Says the same as words.py does.
"use strict";
(() => {
  const serverNow = Date.parse(document.body.dataset.now);
  if (Number.isNaN(serverNow)) return;
  const loadedAt = performance.now();

  const span = (milliseconds) => {
    const s = Math.floor(Math.abs(milliseconds) / 1000);
    const units = [[Math.floor(s / 86400), "d"], [Math.floor(s / 3600) % 24, "h"], [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
    const first = units.findIndex(([amount]) => amount > 0);
    if (first < 0) return "0 s";
    return units.slice(first, first + 2).filter(([amount]) => amount > 0).map(([amount, name]) => `${amount} ${name}`).join(" ");
  };

  const tick = () => {
    const now = serverNow + performance.now() - loadedAt;
    for (const place of document.querySelectorAll("[data-until]")) {
      const left = Date.parse(place.dataset.until) - now;
      place.textContent = Math.abs(left) < 1000 ? "now" : left > 0 ? `in ${span(left)}` : `${span(left)} ago`;
    }
  };
  tick();
  setInterval(tick, 1000);
})();
