// Follows a run while its page is looked at: htmx fetches the story, this says when, and keeps what was open.
"use strict";

(() => {
  const EVERY = 2000;
  let last = "";
  let kept = { open: new Set(), focus: "" };

  const story = () => document.getElementById("dw-story");
  const isLive = () => Boolean(story() && story().hasAttribute("hx-get"));

  const nameOf = (element) => {
    if (element.tagName === "A") return `a ${element.getAttribute("href")}`;
    const hidden = element.querySelector(".dw-hidden");
    return `s ${(hidden || element).textContent.trim()}`;
  };

  const isReading = () => {
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && story().contains(selection.anchorNode));
  };

  // A step is being opened, or is open: what was asked from this story must not be lost with it.
  const isOpening = () => Boolean(story().querySelector(".htmx-request") || document.querySelector("dialog[open]"));

  const tick = () => {
    if (isLive() && !document.hidden && !isReading() && !isOpening()) htmx.trigger(story(), "dw:tick");
  };

  const timer = setInterval(() => {
    if (isLive()) tick();
    else clearInterval(timer);
  }, EVERY);

  document.addEventListener("visibilitychange", tick);
  document.documentElement.classList.add("dw-js");

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target !== story()) return;
    const xhr = event.detail.xhr;
    if (xhr.status >= 500) return;
    if (!xhr.responseText.includes('id="dw-story"')) {
      // The run is gone, or the session is over: what is shown stays.
      event.detail.shouldSwap = false;
      clearInterval(timer);
      return;
    }
    if (isOpening() || xhr.responseText === last) {
      event.detail.shouldSwap = false;
      return;
    }
    last = xhr.responseText;
    const open = [...story().querySelectorAll("details[open] > summary")].map(nameOf);
    const focused = story().contains(document.activeElement) ? document.activeElement : null;
    kept = { open: new Set(open), focus: focused ? nameOf(focused) : "" };
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "dw-story") return;
    for (const summary of story().querySelectorAll("details > summary")) {
      if (kept.open.has(nameOf(summary))) summary.parentElement.open = true;
    }
    if (!kept.focus) return;
    const found = [...story().querySelectorAll("a, summary")].find((one) => nameOf(one) === kept.focus);
    if (found) found.focus({ preventScroll: true });
  });
})();
