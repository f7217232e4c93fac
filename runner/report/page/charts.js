// Charts are SVG paths: one per colour, however many models there are; colours follow the theme by themselves.
let WIDTH = 640;
const HEIGHT = 280, LEFT = 46, RIGHT = 12, TOP = 10, BOTTOM = 38;

/** Draws for a place of this width, so that text has its size there. */
function atWidth(width, draw) {
  WIDTH = innerWidth <= 600 ? 380 : width;
  const drawn = draw();
  WIDTH = 640;
  return drawn;
}

function logScale(lo, hi, from, to) {
  if (lo === hi) { lo /= 1.1; hi *= 1.1; }
  const a = Math.log(lo), b = Math.log(hi);
  return value => from + (Math.log(value) - a) / (b - a) * (to - from);
}
function linearScale(lo, hi, from, to) {
  if (lo === hi) { lo -= 0.5; hi += 0.5; }
  return value => from + (value - lo) / (hi - lo) * (to - from);
}

/** Round values between lo and hi on a logarithmic axis. */
function logTicks(lo, hi) {
  const decades = Math.log10(hi / lo);
  const steps = decades > 4 ? [1] : decades > 1.5 ? [1, 3] : decades > 0.7 ? [1, 1.5, 2, 3, 5, 7] : [1, 1.1, 1.2, 1.4, 1.6, 2, 2.5, 3, 4, 5, 6, 7, 8, 9];
  const found = [];
  for (let e = Math.floor(Math.log10(lo)); e <= Math.ceil(Math.log10(hi)); e++) {
    for (const step of steps) { const value = step * 10 ** e; if (value >= lo * 0.999 && value <= hi * 1.001) found.push(value); }
  }
  return found.length > 1 ? found : [lo, hi];
}
function linearTicks(lo, hi) {
  const raw = (hi - lo) / 5 || 1, base = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(s => s * base).find(s => s >= raw);
  const found = [];
  for (let value = Math.ceil(lo / step) * step; value <= hi + step / 1e6; value += step) found.push(+value.toPrecision(12));
  return found;
}
const tickText = value => String(+value.toPrecision(3));

function axes(x, y, xTicks, yTicks, xLabel, yLabel, height = HEIGHT) {
  const made = [];
  for (const tick of yTicks) {
    made.push(svg('path', { class: 'grid', d: `M${LEFT} ${y(tick).toFixed(1)}H${WIDTH - RIGHT}` }));
    made.push(svg('text', { x: LEFT - 6, y: y(tick) + 4, 'text-anchor': 'end' }, tickText(tick)));
  }
  for (const tick of xTicks) made.push(svg('text', { x: x(tick), y: height - BOTTOM + 15, 'text-anchor': 'middle' }, tickText(tick)));
  made.push(svg('text', { x: WIDTH - RIGHT, y: height - 2, 'text-anchor': 'end' }, xLabel));
  made.push(svg('text', { x: LEFT, y: TOP - 1, 'text-anchor': 'start' }, yLabel));
  return made;
}

/** Colour of a model: which side of 1 its whole interval lies on; apart from the rest if the number is not to be trusted. */
function colour(section, row) {
  if (section.kind[row] !== 'ok') return 'warn';
  const lo = finite(section, 'speedup_lo', row), hi = finite(section, 'speedup_hi', row);
  if (lo === null || hi === null) return 'mute';
  return lo > 1 ? 'good' : hi < 1 ? 'bad' : 'mute';
}

/** One path of dots (and one of intervals) per colour. `points`: [row, x, y, yLo, yHi]. */
function marks(section, points, size) {
  const dots = {}, lines = {};
  for (const [row, x, y, lo, hi] of points) {
    const c = colour(section, row);
    (dots[c] ??= []).push(`M${x.toFixed(1)} ${y.toFixed(1)}h0`);
    if (lo !== undefined) (lines[c] ??= []).push(`M${x.toFixed(1)} ${lo.toFixed(1)}V${hi.toFixed(1)}`);
  }
  return [
    ...Object.entries(lines).map(([c, d]) => svg('path', { class: `ci c-${c}`, d: d.join('') })),
    ...Object.entries(dots).map(([c, d]) => svg('path', { class: `dot c-${c}`, d: d.join(''), style: `stroke-width:${size}` })),
  ];
}

/** Names the nearest model under the pointer and opens it on a click. */
function hoverable(node, section, points, words) {
  const width = WIDTH;
  const nearest = event => {
    const box = node.getBoundingClientRect(), k = width / box.width;
    const px = (event.clientX - box.left) * k, py = (event.clientY - box.top) * k;
    let best = null, distance = 900;
    for (const point of points) {
      const d = (point[1] - px) ** 2 + (point[2] - py) ** 2;
      if (d < distance) { distance = d; best = point; }
    }
    return best;
  };
  node.addEventListener('pointermove', event => {
    const point = nearest(event);
    node.style.cursor = point ? 'pointer' : '';
    if (point) showTip(event, words(point[0])); else hideTip();
  });
  node.addEventListener('pointerleave', hideTip);
  node.addEventListener('click', event => { const point = nearest(event); if (point) { hideTip(); open(section, point[0]); } });
}

function speedupWords(section, row) {
  const lo = finite(section, 'speedup_lo', row), hi = finite(section, 'speedup_hi', row);
  const interval = lo !== null && hi !== null ? ` [${number(lo)}, ${number(hi)}]` : '';
  const latency = section.get('abs_latency', row);
  return `${section.get('name', row)}\n${number(section.get('speedup', row))}x${interval}${latency ? `\n${number(latency)} ms` : ''}`;
}

/** Speedups from the lowest to the highest, each with its interval. */
function sortedChart(section, rows) {
  const ordered = rows.filter(row => section.get('speedup', row) > 0).sort((a, b) => section.get('speedup', a) - section.get('speedup', b));
  if (!ordered.length) return null;
  const [low, high] = ['speedup_lo', 'speedup_hi'].map(name => row => finite(section, name, row) || section.get('speedup', row));
  const [lo, hi] = extent(ordered.flatMap(row => [low(row), high(row)]), 1);
  const x = linearScale(-0.5, ordered.length - 0.5, LEFT, WIDTH - RIGHT), y = logScale(lo, hi, HEIGHT - BOTTOM, TOP + 8);
  const points = ordered.map((row, i) => [row, x(i), y(section.get('speedup', row)), y(low(row)), y(high(row))]);
  const node = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': 'Speedups, sorted' },
    axes(x, y, [], logTicks(lo, hi), `${plural(ordered.length, 'model')}, slowest first`, 'speedup'),
    svg('path', { class: 'one', d: `M${LEFT} ${y(1).toFixed(1)}H${WIDTH - RIGHT}` }), marks(section, points, ordered.length > 400 ? 2 : 3.5));
  hoverable(node, section, points, row => speedupWords(section, row));
  return node;
}

function scatterChart(section, rows) {
  const found = rows.filter(row => section.get('speedup', row) > 0 && section.get('abs_latency', row) > 0);
  if (!found.length) return null;
  const [x0, x1] = extent(found.map(row => section.get('abs_latency', row))), [y0, y1] = extent(found.map(row => section.get('speedup', row)), 1);
  const x = logScale(x0, x1, LEFT + 6, WIDTH - RIGHT - 6), y = logScale(y0, y1, HEIGHT - BOTTOM, TOP + 8);
  const points = found.map(row => [row, x(section.get('abs_latency', row)), y(section.get('speedup', row))]);
  const node = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': 'Speedup against latency' },
    axes(x, y, logTicks(x0, x1), logTicks(y0, y1), 'latency of the backend (ms)', 'speedup'),
    svg('path', { class: 'one', d: `M${LEFT} ${y(1).toFixed(1)}H${WIDTH - RIGHT}` }), marks(section, points, found.length > 400 ? 3.5 : 6));
  hoverable(node, section, points, row => speedupWords(section, row));
  return node;
}

function extent(values, also) {
  let lo = also ?? Infinity, hi = also ?? -Infinity;
  for (const value of values) { if (value < lo) lo = value; if (value > hi) hi = value; }
  return [lo * 0.97, hi * 1.03];
}

/** Where compiling spends its time: mean over the models that are shown. Phases nest, so bars don't add up. */
function phaseBars(entries, limit) {
  const most = Math.max(...entries.map(entry => entry[1]));
  return entries.slice(0, limit).map(([name, seconds, more]) => el('div', { class: 'phase' }, el('span', {}, name),
    el('span', {}, el('b', { style: `width:${(100 * seconds / most).toFixed(2)}%` })), el('span', { title: more }, `${number(seconds, 3)} s`)));
}

function legend() {
  const items = [['good', 'faster'], ['bad', 'slower'], ['mute', 'interval includes 1, or none'], ['warn', 'unconverged or wrong: not in the mean']];
  return el('div', { class: 'legend' }, items.map(([c, text]) => el('span', {}, el('i', { style: `background:var(--${c})` }), text)));
}
