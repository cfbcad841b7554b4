// Sorting of tables, and plots in the colours of the reader's theme.
"use strict";
(function () {
  // Sorting: a click sorts by that column, the next one the other way round. Cells without a
  // value come last either way; equal cells keep their order.
  const compare = function (a, b) {
    const x = Number(a), y = Number(b);
    if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a.localeCompare(b, "en", { numeric: true });
  };
  const sort = function (heading) {
    const body = heading.closest("table").tBodies[0];
    const column = heading.cellIndex;
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.sort;
    const rows = Array.from(body.rows);
    rows.sort(function (one, other) {
      const a = key(one), b = key(other);
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return down ? compare(b, a) : compare(a, b);
    });
    body.append(...rows);
  };
  for (const button of document.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sort(button.parentNode));
  }

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const themed = function (layout) {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const rule = style.getPropertyValue("--rule").trim();
    const axis = { gridcolor: rule, linecolor: rule, zerolinecolor: rule, automargin: true };
    return Object.assign({}, layout, {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, size: 12, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: style.getPropertyValue("--raised").trim(), font: { color: ink } },
      modebar: {
        bgcolor: "rgba(0,0,0,0)", color: rule,
        activecolor: style.getPropertyValue("--accent").trim(),
      },
      margin: { l: 60, r: 20, t: 44, b: 48 },
      xaxis: Object.assign({}, axis, layout.xaxis),
      yaxis: Object.assign({}, axis, layout.yaxis),
    });
  };
  const options = {
    responsive: true, displaylogo: false, showTips: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "sendChartToCloud"],
  };
  const sources = Array.from(document.querySelectorAll("script[data-plot]"));
  const plots = new Map();
  const draw = function (name) {
    const { data, layout } = plots.get(name);
    return Plotly.react(document.getElementById(name), data, themed(layout), options);
  };
  // One plot per turn, so that the page can be read while they come.
  const next = function () {
    const source = sources.shift();
    if (source === undefined) {
      document.documentElement.dataset.plots = String(plots.size);
      return;
    }
    plots.set(source.dataset.plot, JSON.parse(source.textContent));
    draw(source.dataset.plot).then(() => setTimeout(next, 0));
  };
  next();

  for (const select of document.querySelectorAll("select[data-for]")) {
    select.addEventListener("change", function () {
      const plot = plots.get(select.dataset.for);
      if (plot === undefined) return;
      for (const trace of plot.data) trace.visible = trace.meta === select.value;
      const chosen = select.options[select.selectedIndex].textContent;
      plot.layout.yaxis.title.text = chosen;
      draw(select.dataset.for);
    });
  }
  dark.addEventListener("change", () => { for (const name of plots.keys()) draw(name); });
})();
