// First script of the page: whatever goes wrong later, or would leave the page, is written into
// the document itself, where a test finds it.
"use strict";
(function () {
  const note = function (text) {
    const root = document.documentElement;
    root.dataset.errors = (root.dataset.errors || "") + text + "; ";
  };
  window.addEventListener("error", (event) => note(event.message));
  window.addEventListener("unhandledrejection", (event) => note(String(event.reason)));
  document.addEventListener("securitypolicyviolation", (event) =>
    note("blocked " + event.violatedDirective + " " + event.blockedURI));
})();
