// A line over a measure, in the colours of the page, as wide as its place.

import uPlot from "../vendor/uplot/uPlot.esm.js";

/** Draws in a place whenever its width or the colours change; `options` are uPlot's, for a colour of each role. */
export function drawChart(place, height, data, options) {
  let plot = null;
  const paint = () => {
    plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = `12px ${colour("--sans")}`;
    const line = { stroke: colour("--line"), width: 1 };
    plot = new uPlot({
      width: Math.max(200, place.clientWidth), height,
      legend: { show: false }, cursor: { drag: { x: false, y: false } },
      ...options({ axis: { stroke: colour("--ink-3"), font, grid: line, ticks: line }, accent: colour("--accent") }),
    }, data, place);
  };
  let width = 0;
  const sized = new ResizeObserver(() => {
    if (!place.isConnected || place.clientWidth === width) return;
    width = place.clientWidth;
    paint();
  });
  sized.observe(place);
  const themed = () => {
    if (place.isConnected) paint();
    else document.removeEventListener("themechange", themed);
  };
  document.addEventListener("themechange", themed);
}
