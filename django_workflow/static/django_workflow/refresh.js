// Parts of a page that are fetched again from time to time, while somebody looks at it.
"use strict";

(() => {
  const asked = new Map();

  const isReading = (part) => {
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && part.contains(selection.anchorNode));
  };

  const tick = () => {
    if (document.hidden) return;
    for (const part of document.querySelectorAll(".dw-part[hx-get]")) {
      const now = Date.now();
      if (!asked.has(part.id)) asked.set(part.id, now);
      if (now - asked.get(part.id) < Number(part.dataset.every)) continue;
      if (isReading(part) || part.contains(document.activeElement)) continue;
      asked.set(part.id, now);
      htmx.trigger(part, "dw:tick");
    }
  };

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target } = event.detail;
    // The session is over, or the server has trouble: what is shown stays.
    if (xhr.status !== 200 || !xhr.responseText.includes(`id="${target.id}"`)) event.detail.shouldSwap = false;
  });
  document.addEventListener("visibilitychange", tick);
  setInterval(tick, 1000);
  tick();
})();
