// Opens a step beside the timeline, and copies values. Without it, steps have pages of their own.
"use strict";

(() => {
  const drawer = () => document.getElementById("dw-drawer");

  // Copying needs a secure page; where it cannot be done, nothing is offered.
  const offer = (within) => {
    if (!navigator.clipboard) return;
    for (const button of within.querySelectorAll("[data-dw-copy]")) button.hidden = false;
  };

  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-dw-copy]");
    if (copy) {
      await navigator.clipboard.writeText(copy.closest(".dw-value").querySelector("pre").textContent);
      copy.classList.add("dw-copied");
      setTimeout(() => copy.classList.remove("dw-copied"), 1500);
    }
    if (event.target.closest("[data-dw-close]") || event.target === drawer()) drawer().close();
  });

  // A new tab or window is asked for: the page of the step, then.
  document.addEventListener("htmx:confirm", (event) => {
    const why = event.detail.triggeringEvent;
    if (why && (why.ctrlKey || why.metaKey || why.shiftKey)) {
      event.preventDefault();
      window.open(event.detail.elt.href, "_blank", "noopener");
    }
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    offer(document);
    if (event.detail.target.id === "dw-drawer-body" && !drawer().open) drawer().showModal();
  });

  offer(document);
})();
