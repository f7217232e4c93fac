// The list of models: filtered, sorted, and built for the lines in view only.
const LINE = 34, SPARE = 8;
const state = { section: sections[0], rows: [], sort: null, down: false, search: '', picks: {} };

/** What can be picked from a list, where rows differ in it. */
const PICKS = [
  ['suite', 'suite'], ['status', 'status'], ['flag', 'flag'], ['backend', 'backend'], ['precision', 'precision'],
  ['mode', 'mode'], ['dev', 'device'], ['verdict', 'verdict'],
];
function pickValues(section, key, row) {
  if (key === 'flag') return (section.get('flags', row) || '').split(';').filter(Boolean);
  if (key === 'status' && section.kind[row] === 'unconverged') return ['ok', 'unconverged'];
  const value = section.get(key, row);
  return value ? [value] : [];
}

function matches(section, row) {
  if (state.group !== null && section.group[row] !== state.group) return false;
  for (const [key, wanted] of Object.entries(state.picks)) if (!pickValues(section, key, row).includes(wanted)) return false;
  return state.search.split(/\s+/).every(word => section.text[row].includes(word));
}

function compare(a, b) {
  const missing = value => value === null || value === undefined || value === '';
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const order = typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), 'en', { numeric: true });
  return state.down ? -order : order;
}

/** Rows that pass the filters, in order; what has no value comes last either way. */
function select() {
  const section = state.section, found = [];
  for (let row = 0; row < section.n; row++) if (matches(section, row)) found.push(row);
  if (state.sort) found.sort((a, b) => compare(section.get(state.sort, a), section.get(state.sort, b)) || a - b);
  return found;
}

/** Columns of the list: name, width, cell. Narrow screens keep the first three. */
function listColumns(section) {
  const phone = innerWidth <= 600;
  const measured = section.shown.filter(name => section.has(name));
  const made = [
    { name: 'name', head: 'model', width: phone ? 'minmax(96px, 1.2fr)' : 'minmax(150px, 1.4fr)', cell: modelCell },
    { name: 'status', head: 'status', width: phone ? '92px' : '118px', cell: badge },
    ...section.keys.filter(key => !phone && section.has(key) && differs(section, key)).map(name => textColumn(section, name)),
    ...measured.map(name => measuredColumn(section, name, phone)),
    ...(section.has('flags') ? [{ name: 'flags', head: 'flags', width: 'minmax(110px, 1fr)', cell: (s, row) => el('span', { class: 'soft' }, s.get('flags', row) || '') }] : []),
  ];
  return phone ? made.slice(0, 3) : made;
}
function differs(section, key) {
  return Array.from({ length: section.n }, (_, row) => section.get(key, row)).some((value, _, all) => value !== all[0]);
}
function textColumn(section, name) {
  return { name, head: name, width: 'minmax(92px, .7fr)', cell: (s, row) => el('span', { title: s.get(name, row) }, s.get(name, row) || '') };
}
function measuredColumn(section, name, phone) {
  const column = section.by[name];
  if (column.type === 'str') return textColumn(section, name);
  if (section.has(`${name}_lo`) && !phone) return { name, head: title(column), width: 'minmax(210px, 1.8fr)', cell: forestCell(section, name) };
  return { name, head: title(column), width: phone ? '84px' : `minmax(${Math.max(84, 7.6 * title(column).length + 14)}px, .7fr)`, numeric: true, cell: (s, row) => el('span', { class: 'n', title: s.get(name, row) }, shown(s, name, row)) };
}

function modelCell(section, row) {
  return el('a', { class: 'model', href: `#${section.place}/${row}`, title: section.get('name', row) }, section.get('name', row));
}

/** The number, and its interval on an axis that all lines share. */
function forestCell(section, name) {
  const key = `${name}_scale`;
  section[key] ??= forestScale(section, name);
  return (s, row) => {
    const value = s.get(name, row), text = el('span', { class: 'n value', title: value }, shown(s, name, row));
    if (!(value > 0)) return el('span', { class: 'forest' }, text);
    const x = s[key], lo = finite(s, `${name}_lo`, row) || value, hi = finite(s, `${name}_hi`, row) || value;
    const c = colour(s, row);
    return el('span', { class: 'forest', title: `${number(value)} [${number(lo)}, ${number(hi)}]` }, text,
      svg('svg', { viewBox: '0 0 200 18', preserveAspectRatio: 'none' },
        svg('path', { class: 'one', d: `M${x(1).toFixed(1)} 0V18`, 'vector-effect': 'non-scaling-stroke' }),
        svg('path', { class: `ci c-${c}`, d: `M${x(lo).toFixed(1)} 9H${x(hi).toFixed(1)}`, style: 'stroke-width:8', 'vector-effect': 'non-scaling-stroke' }),
        svg('path', { class: `c-${c}`, d: `M${x(value).toFixed(1)} 3V15`, style: 'stroke-width:2', 'vector-effect': 'non-scaling-stroke' })));
  };
}
function forestScale(section, name) {
  const values = [1];
  for (let row = 0; row < section.n; row++) for (const end of ['', '_lo', '_hi']) {
    const value = section.get(name + end, row);
    if (value > 0) values.push(value);
  }
  values.sort((a, b) => a - b);
  const at = share => values[Math.round(share * (values.length - 1))];
  const scale = logScale(Math.min(at(0.002), 0.95), Math.max(at(0.998), 1.05), 4, 196);
  return value => Math.max(0, Math.min(200, scale(value)));
}

function drawHead() {
  const columns = state.columns = listColumns(state.section);
  const wide = innerWidth <= 600 ? '0' : `${240 + 118 * (columns.length - 1)}px`;
  $('table').style.setProperty('--columns', columns.map(column => column.width).join(' '));
  $('table').style.setProperty('--wide', wide);
  $('head').replaceChildren(...columns.map(column => el('span', {
    role: 'columnheader', class: column.numeric ? 'n' : null,
    'aria-sort': state.sort === column.name ? (state.down ? 'descending' : 'ascending') : 'none',
  }, el('button', { type: 'button', 'data-sort': column.name, title: (state.section.by[column.name] || {}).meaning, on: { click: () => sortBy(column.name) } }, column.head))));
}

function sortBy(name) {
  state.down = state.sort === name && !state.down;
  state.sort = name;
  drawHead();
  update();
}

let drawn = '';
function drawRows(force) {
  const box = $('table'), from = Math.max(0, Math.floor(box.scrollTop / LINE) - SPARE);
  const to = Math.min(state.rows.length, Math.ceil((box.scrollTop + box.clientHeight) / LINE) + SPARE);
  const key = `${from}-${to}`;
  if (!force && key === drawn) return;
  drawn = key;
  const section = state.section;
  $('rows').style.height = `${state.rows.length * LINE}px`;
  $('rows').replaceChildren(...state.rows.slice(from, to).map((row, i) => el('div', {
    class: 'row', role: 'row', style: `top:${(from + i) * LINE}px`, 'data-row': row, on: { click: event => { event.preventDefault(); open(section, row); } },
  }, state.columns.map(column => el('span', { role: 'cell', 'data-column': column.name, class: column.numeric ? 'n' : null }, column.cell(section, row))))));
}

function drawFilters() {
  const section = state.section, made = [];
  for (const [key, label] of PICKS) {
    const counts = new Map();
    for (let row = 0; row < section.n; row++) for (const value of pickValues(section, key, row)) counts.set(value, (counts.get(value) || 0) + 1);
    if (counts.size < (key === 'flag' ? 1 : 2)) continue;
    const choice = el('select', { 'aria-label': label, 'data-pick': key, on: { change: event => pick(key, event.target.value) } },
      el('option', { value: '' }, `any ${label}`), [...counts].sort((a, b) => b[1] - a[1]).map(([value, n]) => el('option', { value }, `${value} (${n})`)));
    choice.value = state.picks[key] || '';
    made.push(choice);
  }
  $('selects').replaceChildren(...made);
}

function pick(key, value) {
  if (value) state.picks[key] = value; else delete state.picks[key];
  const choice = document.querySelector(`[data-pick="${key}"]`);
  if (choice) choice.value = value;
  update();
}
function pickGroup(group) {
  state.group = state.group === group ? null : group;
  drawSummary();
  update();
}

/** Everything that depends on the filters. */
function update() {
  const section = state.section;
  state.rows = select();
  $('count').textContent = state.rows.length === section.n ? plural(section.n, 'row') : `${state.rows.length} of ${plural(section.n, 'row')}`;
  $('reset').hidden = !state.search && !Object.keys(state.picks).length && state.group === null;
  $('table').scrollTop = 0;
  drawRows(true);
  drawCharts();
}

function reset() {
  $('search').value = state.search = '';
  state.picks = {};
  state.group = null;
  drawFilters();
  drawSummary();
  update();
}
