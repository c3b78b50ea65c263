// A map of a box of windows: one cell for each window that was tried, by its width and its centre.

import { h, svg } from "./dom.js";

const FEW = 8; // windows that are stepped through one by one
const ROW = 14;
const WIDE = 400;

/** Returns windows by width and centre: the cells of boxes, else the listed windows if more than FEW and some share a width; else null. */
export function windowsOf(rows) {
  const all = rows.map(({ rendering }, index) => ({ index, ...(rendering.kind.startsWith("window/") ? rendering.window : rendering), rendering }));
  const inBox = all.filter(({ rendering }) => rendering.kind.startsWith("window_cell/"));
  const listed = all.filter(({ rendering, width }) => rendering.kind.startsWith("window/") && width !== undefined);
  const cells = inBox.length ? inBox : listed;
  const values = [...new Set(cells.map(({ width }) => width))].sort((a, b) => a - b);
  if (!inBox.length && (cells.length <= FEW || values.length === cells.length)) return null;
  const others = all.filter((each) => !cells.includes(each)).map(({ index }) => index);
  const widths = values.map((width) => ({
    width, cells: cells.filter((cell) => cell.width === width).sort((a, b) => a.centre - b.centre),
  }));
  return { widths, others };
}

/** Returns a drawing of the cells, and a function that marks one; its numbers are in the sliders and in the table. */
export function windowMap({ widths }, shown) {
  const centres = widths.flatMap(({ cells }) => cells.map(({ centre }) => centre));
  const gap = Math.max(...widths.map(({ cells }) => cells.length > 1 ? (cells.at(-1).centre - cells[0].centre) / (cells.length - 1) : 0)) || 1;
  const low = Math.min(...centres) - gap / 2;
  const scale = WIDE / (Math.max(...centres) + gap / 2 - low);
  const marks = new Map();
  const drawn = widths.flatMap(({ cells }, level) => cells.map(({ index, centre }, place) => {
    const left = place ? (cells[place - 1].centre + centre) / 2 : centre - gap / 2;
    const right = place < cells.length - 1 ? (cells[place + 1].centre + centre) / 2 : centre + gap / 2;
    const [x, y, width] = [(left - low) * scale, (widths.length - 1 - level) * ROW, (right - left) * scale];
    const cell = svg(`g.${shown[index] ? "cell-shown" : "cell-not-shown"}`,
      svg("rect", { x, y, width, height: ROW }),
      shown[index] ? null : svg("path", { d: `M${x} ${y}l${width} ${ROW}M${x} ${y + ROW}l${width} ${-ROW}` }));
    marks.set(index, cell);
    return cell;
  }));
  const tall = widths.length * ROW;
  const drawing = svg("svg.window-map", { viewBox: `-2 -2 ${WIDE + 4} ${tall + 4}`, preserveAspectRatio: "none", "aria-hidden": "true" }, drawn);
  const drawnCells = widths.flatMap(({ cells }) => cells);
  const missing = drawnCells.filter(({ index }) => !shown[index]).length;
  const element = h("figure.map", drawing,
    h("figcaption", `Each cell is a window: centre from left (${round(Math.min(...centres))}) to right (${round(Math.max(...centres))}), width from bottom (${round(widths[0].width)}) to top (${round(widths.at(-1).width)}). Crossed out: not shown, ${missing} of ${drawnCells.length}.`));
  return {
    element,
    place(index) {
      for (const each of drawing.querySelectorAll(".cell-now")) each.classList.remove("cell-now");
      const cell = marks.get(index);
      if (!cell) return;
      cell.classList.add("cell-now");
      drawing.append(cell); // its outline is drawn last
    },
  };
}

const round = (value) => String(Number(value.toPrecision(6)));
