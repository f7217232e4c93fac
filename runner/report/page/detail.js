// One model: its numbers, samples, compilation, error and how to reproduce it.
const FACTS = [
  'speedup', 'verdict', 'abs_latency', 'eager_latency', 'compile_s', 'compile_warm_s', 'breakeven_iters', 'compression_ratio', 'dynamo_peak_mem',
  'accuracy', 'max_abs_err', 'max_rel_err', 'n_pairs', 'mde80', 'drift_pct', 'ratio_drift_p', 'graph_breaks', 'batch_size', 'precision', 'mode', 'backend', 'device_name',
];
let opened = null, before = null;

function open(section, row) { location.hash = `${section.place}/${row}`; }
function close() { history.pushState(null, '', location.pathname + location.search); route(); }

/** Shows what the address names. */
function route() {
  const found = /^#(\d+)\/(\d+)$/.exec(location.hash);
  const section = found && sections[+found[1]];
  if (!section || +found[2] >= section.n) {
    $('detail').hidden = $('shade').hidden = true;
    document.body.style.overflow = '';
    if (opened && before) before.focus();
    opened = null;
    return;
  }
  if (!opened) before = document.activeElement;
  if (section !== state.section) showSection(section);
  opened = [section, +found[2]];
  $('detail').replaceChildren(...page(section, +found[2]));
  $('detail').hidden = $('shade').hidden = false;
  document.body.style.overflow = 'hidden';
  $('detail').scrollTop = 0;
  $('detail').focus();
}

function step(by) {
  const place = state.rows.indexOf(opened[1]) + by;
  if (place >= 0 && place < state.rows.length) open(opened[0], state.rows[place]);
}

function page(section, row) {
  const error = [section.get('error_type', row), section.get('error', row)].filter(Boolean).join(': ');
  const phase = section.get('phase', row), log = details().logs[`${section.place}.${row}`];
  const command = section.get('command', row), flags = pickValues(section, 'flag', row);
  return [
    el('header', {}, el('h2', {}, section.get('name', row)), el('div', { class: 'steps' },
      el('button', { type: 'button', 'aria-label': 'Previous model', on: { click: () => step(-1) } }, '‹'),
      el('button', { type: 'button', 'aria-label': 'Next model', on: { click: () => step(1) } }, '›'),
      el('button', { type: 'button', 'aria-label': 'Close', on: { click: close } }, '✕'))),
    el('p', {}, badge(section, row), ' ', el('span', { class: 'soft' }, [phase && `in ${phase}`, section.get('suite', row), section.get('tag', row)].filter(Boolean).join(' · '))),
    error ? el('pre', { class: 'error', style: 'margin-top:12px' }, error) : null,
    el('div', { class: 'facts' }, FACTS.filter(name => section.get(name, row) !== null && section.get(name, row) !== '').map(name => fact(section, name, row))),
    flags.length ? [el('h3', {}, 'Flags'), flags.map(flag => el('span', { class: 'flagword' }, flag))] : null,
    samplesPart(section, row), phasesPart(section, row), tablesPart(section, row),
    command ? [el('h3', {}, 'Reproduce'), el('div', { class: 'copy' }, el('pre', { id: 'command' }, command), copyButton(() => command))] : null,
    log !== undefined ? [el('h3', {}, 'End of the log'), el('pre', { class: 'log' }, log)] : null,
    allColumns(section, row), environmentPart(section, row),
  ].flat(2).filter(Boolean);
}

function fact(section, name, row) {
  const lo = section.get(`${name}_lo`, row), hi = section.get(`${name}_hi`, row), column = section.by[name] || { name };
  const interval = typeof lo === 'number' && typeof hi === 'number' ? ` [${number(lo)}, ${number(hi)}]` : '';
  return el('div', { title: column.meaning }, el('span', {}, title(column)), el('b', { 'data-fact': name }, shown(section, name, row) + (name === 'speedup' ? 'x' : '') + interval));
}

/** Samples of one process, in milliseconds; they are stored as whole numbers of a fraction of the median. */
function unpack(packed) {
  const side = ([unit, values]) => values.map(value => value === null ? NaN : value * unit * 1e3);
  return { label: packed[0], a: side(packed[1]), b: side(packed[2]) };
}
function samplesPart(section, row) {
  const packed = details().samples[`${section.place}.${row}`];
  if (!packed) return null;
  return packed.map(unpack).map(found => {
    const ratios = found.a.map((a, i) => a / found.b[i]);
    return [el('h3', {}, `Samples${found.label ? ` (${found.label})` : ''}: ${plural(found.a.length, 'pair')}`),
      el('div', { class: 'card' }, el('h2', {}, 'Over time'), atWidth(760, () => overTime([[found.a, 'a'], [found.b, 'b']], 'ms per call')), sides()),
      el('div', { class: 'pair', style: 'margin-top:12px' },
        el('div', { class: 'card' }, el('h2', {}, 'Distribution'), atWidth(380, () => distribution(found)), el('p', { class: 'soft' }, 'deviation from the own median')),
        el('div', { class: 'card' }, el('h2', {}, 'Speedup, pair by pair'), atWidth(380, () => overTime([[ratios, 'b']], 'ratio', [finite(section, 'speedup_lo', row), finite(section, 'speedup_hi', row)])),
          el('p', { class: 'soft' }, driftWords(ratios)))),
    ];
  });
}
function sides() {
  return el('div', { class: 'legend' }, [['a', 'eager (side A)'], ['b', 'backend (side B)']].map(([side, text]) => el('span', {}, el('i', { style: `background:var(--side-${side})` }), text)),
    el('span', {}, 'lines: median of each half'));
}
function halves(values) {
  const half = values.length >> 1;
  return [[0, half, median(values.slice(0, half))], [half, values.length, median(values.slice(half))]].filter(([from, to]) => to > from);
}
function driftWords(ratios) {
  const [first, second] = halves(ratios);
  return second ? `second half against the first: ${(100 * (second[2] / first[2] - 1)).toFixed(2)} %` : '';
}

function overTime(series, label, band) {
  const height = 220, all = series.flatMap(([values]) => values).filter(Number.isFinite);
  if (!all.length) return el('p', {}, 'no finite samples');
  const [lo, hi] = [Math.min(...all), Math.max(...all)], pad = (hi - lo) * 0.06;
  const n = series[0][0].length, x = linearScale(-0.5, n - 0.5, LEFT, WIDTH - RIGHT), y = linearScale(lo - pad, hi + pad, height - BOTTOM, TOP + 8);
  const node = svg('svg', { viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': label }, axes(x, y, [], linearTicks(lo, hi), `${n} samples in order`, label, height));
  if (band && band[0] && band[1]) node.append(svg('rect', { class: 'band', x: LEFT, width: WIDTH - LEFT - RIGHT, y: y(band[1]), height: Math.max(1, y(band[0]) - y(band[1])) }));
  for (const [values, side] of series) {
    node.append(svg('path', { class: `dot c-${side}`, d: values.map((v, i) => Number.isFinite(v) ? `M${x(i).toFixed(1)} ${y(v).toFixed(1)}h0` : '').join('') }));
    for (const [from, to, middle] of halves(values)) node.append(svg('path', { class: `ci c-${side}`, d: `M${x(from).toFixed(1)} ${y(middle).toFixed(1)}H${x(to - 1).toFixed(1)}` }));
  }
  return node;
}

/** Histograms of both sides, as deviations from their medians, on one axis. */
function distribution({ a, b }) {
  const height = 220, percents = values => { const middle = median(values); return values.map(v => 100 * (v / middle - 1)).filter(Number.isFinite); };
  const both = [percents(a), percents(b)], all = both.flat().sort((p, q) => p - q);
  if (!all.length) return null;
  const lo = all[Math.floor(0.01 * (all.length - 1))], hi = all[Math.ceil(0.99 * (all.length - 1))] + 1e-6, bins = 24, width = (hi - lo) / bins;
  const counts = both.map(values => { const found = Array(bins).fill(0); for (const v of values) found[Math.max(0, Math.min(bins - 1, Math.floor((v - lo) / width)))]++; return found; });
  const x = linearScale(lo, hi, LEFT, WIDTH - RIGHT), top = Math.max(...counts.flat()), y = linearScale(0, top, height - BOTTOM, TOP + 8);
  const node = svg('svg', { viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': 'Distribution' }, axes(x, y, linearTicks(lo, hi), linearTicks(0, top), 'percent', 'samples', height));
  counts.forEach((found, side) => node.append(svg('path', { class: `f-${'ab'[side]}`, style: 'opacity:.55', d: found.map((n, i) => n ? `M${x(lo + i * width).toFixed(1)} ${y(0)}V${y(n).toFixed(1)}H${x(lo + (i + 1) * width).toFixed(1)}V${y(0)}Z` : '').join('') })));
  return node;
}

function phasesPart(section, row) {
  const found = phaseTable(section), lines = found && found.lines.get(row);
  if (!lines) return null;
  const entries = lines.map(i => [found.phase[i], found.seconds[i], '']).sort((a, b) => b[1] - a[1]);
  return [el('h3', {}, 'Compile-time phases'), el('div', { class: 'card' }, el('p', { class: 'soft' }, 'Phases nest: they do not add up.'), phaseBars(entries, 16))];
}
function tablesPart(section, row) {
  const phases = phaseTable(section);
  return longTables(section).filter(found => found.lines.has(row) && (!phases || found.name !== phases.name)).map(found => {
    const lines = found.lines.get(row), numeric = found.heads.flatMap((head, i) => head[1] === 'str' ? [] : [i]);
    return [el('h3', {}, found.name.replaceAll('_', ' ')), el('div', { class: 'scroll-x' }, table(found.heads.map(head => head[0]), lines.map(i => found.columns.map(column => number(column[i]))), numeric)),
      found.cut.has(row) ? el('p', { class: 'soft' }, `only the first ${lines.length} lines; all are in ${found.name}.csv`) : null];
  });
}

function allColumns(section, row) {
  const names = Object.keys(section.by).filter(name => section.has(name) && section.get(name, row) !== null && section.get(name, row) !== '');
  return el('details', { style: 'margin-top:22px' }, el('summary', {}, `All ${names.length} columns`),
    el('div', { class: 'scroll-x' }, table(['column', 'value', 'meaning'], names.map(name => [title(section.by[name]), el('span', { 'data-value': name }, String(section.get(name, row))), el('span', { class: 'soft' }, section.by[name].meaning)]))));
}
function environmentPart(section, row) {
  const run = report.runs[section.run[row]];
  return run ? el('details', { style: 'margin-top:8px' }, el('summary', {}, 'Environment'), environmentTable(run)) : null;
}
