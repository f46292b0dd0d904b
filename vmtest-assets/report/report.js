// Conveniences of report.html: the page says all that it has to say without them.
// The tests' names are filtered, what is folded is opened at once, and two keys work:
// "/" goes to the filter, "n" and "p" to the next and the previous failure.
"use strict";
(() => {
  const controls = document.getElementById("controls");
  const filter = document.getElementById("filter");
  const found = document.getElementById("found");
  const keys = document.getElementById("keys");
  controls.hidden = false;

  // Everything that is about one test has `data-test` and its name as its first code, and
  // everything that holds nothing but such things has `data-group`.
  const items = [...document.querySelectorAll("[data-test]")].map((element) => ({
    element,
    text: element.querySelector("code").textContent.toLowerCase(),
  }));
  const groups = [...document.querySelectorAll("[data-group]")].map((element) => ({
    element,
    items: [...element.querySelectorAll("[data-test]")],
    // A group that the reader has folded is folded again when the filter is emptied.
    open: element.open,
  }));

  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of items) {
      const match = words.every((word) => item.text.includes(word));
      item.element.toggleAttribute("data-off", !match);
      shown += match;
    }
    for (const group of groups) {
      const any = group.items.some((item) => !item.hasAttribute("data-off"));
      group.element.toggleAttribute("data-off", !any);
      if (group.element.localName === "details") {
        group.element.open = words.length > 0 ? any : group.open;
      }
    }
    found.textContent = words.length > 0 ? `${shown} of ${items.length} entries` : "";
  };
  let timer;
  filter.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, 150);
  });

  const fold = (open) => {
    for (const details of document.querySelectorAll("main details")) {
      details.open = open;
    }
  };
  document.getElementById("open").addEventListener("click", () => fold(true));
  document.getElementById("close").addEventListener("click", () => fold(false));

  // Browsers do not all open what the goal of a link is folded into.
  const reveal = () => {
    const goal = document.getElementById(location.hash.slice(1));
    if (!goal) {
      return;
    }
    for (let element = goal; element; element = element.parentElement) {
      if (element.localName === "details") {
        element.open = true;
      }
    }
    goal.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  const step = (by) => {
    const failures = [...document.querySelectorAll("#failed > details > summary")].filter(
      (summary) => summary.getClientRects().length > 0,
    );
    const at = failures.indexOf(document.activeElement);
    const next = at < 0 ? (by > 0 ? 0 : failures.length - 1) : at + by;
    if (failures[next]) {
      failures[next].focus();
      failures[next].scrollIntoView({ block: "nearest" });
    }
  };
  document.addEventListener("keydown", (event) => {
    if (event.target === filter) {
      if (event.key === "Escape") {
        filter.value = "";
        apply();
      }
      return;
    }
    if (!keys.checked || event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    if (event.key === "/") {
      filter.focus();
    } else if (event.key === "n") {
      step(1);
    } else if (event.key === "p") {
      step(-1);
    } else {
      return;
    }
    event.preventDefault();
  });
})();
