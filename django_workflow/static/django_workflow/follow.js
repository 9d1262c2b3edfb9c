// Lets runs on a project's own pages rest while nobody looks: a hidden tab asks nothing, and asks at once when it is shown again.
"use strict";

(() => {
  // The tag may stand more than once on a page.
  if (document.documentElement.dataset.workflowFollow) return;
  document.documentElement.dataset.workflowFollow = "on";
  const FOLLOWED = ".workflow-live[hx-get]";

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.target.matches(FOLLOWED)) event.preventDefault();
  });

  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !window.htmx) return;
    for (const one of document.querySelectorAll(FOLLOWED)) window.htmx.trigger(one, "workflow:shown");
  });
})();
