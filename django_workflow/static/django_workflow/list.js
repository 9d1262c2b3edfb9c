// The list of runs: refreshes while it is looked at and nothing is chosen in it, and counts what is chosen.
"use strict";

(() => {
  const EVERY = 5000;
  let last = "";

  const rows = () => document.getElementById("dw-rows");
  const boxes = () => [...rows().querySelectorAll("input[name=_selected_action]")];

  const isBusy = () => {
    const selection = document.getSelection();
    const isReading = selection && !selection.isCollapsed && rows().contains(selection.anchorNode);
    return document.hidden || isReading || boxes().some((box) => box.checked) || rows().contains(document.activeElement);
  };

  const tick = () => {
    if (rows() && !isBusy()) htmx.trigger(rows(), "dw:tick");
  };

  const count = () => {
    const shown = document.querySelector(".dw-chosen");
    const all = rows().querySelector(".dw-all");
    const chosen = boxes().filter((box) => box.checked).length;
    if (shown) {
      const parts = shown.dataset.text.split("{}");
      shown.textContent = parts[0] + chosen + parts[1] + boxes().length + parts[2];
    }
    if (all) {
      all.checked = chosen > 0 && chosen === boxes().length;
      all.indeterminate = chosen > 0 && chosen < boxes().length;
    }
  };

  // What the clock alone changes is no news.
  const withoutTime = (text) => text.replace(/<time[^]*?<\/time>(?=<\/span>\s*<\/nav>)/, "").replace(/csrfmiddlewaretoken[^>]*/, "");

  document.addEventListener("change", (event) => {
    if (!rows() || !rows().contains(event.target)) return;
    if (event.target.classList.contains("dw-all")) {
      for (const box of boxes()) box.checked = event.target.checked;
    }
    count();
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    const text = event.detail.xhr.responseText;
    // The session is over, the server has trouble, or somebody began to choose meanwhile: what is shown stays.
    if (event.detail.xhr.status !== 200 || !text.includes('id="dw-rows"') || isBusy()) event.detail.shouldSwap = false;
    else if (withoutTime(text) === last) {
      event.detail.shouldSwap = false;
      const now = new DOMParser().parseFromString(text, "text/html").querySelector(".dw-at");
      const at = rows().querySelector(".dw-at");
      if (now && at) at.replaceWith(document.importNode(now, true));
    } else last = withoutTime(text);
  });

  document.addEventListener("htmx:afterSwap", count);
  document.addEventListener("visibilitychange", tick);
  if (rows()) {
    count();
    setInterval(tick, EVERY);
  }
})();
