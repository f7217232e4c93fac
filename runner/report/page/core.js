// Data, words and elements. Text of results only ever becomes text nodes and attributes, never markup.
const $ = id => document.getElementById(id);
const report = JSON.parse($('data').textContent);

let cachedDetails;
/** Samples, long tables and logs, parsed when the first model is opened. */
function details() {
  cachedDetails ??= JSON.parse($('details').textContent);
  return cachedDetails;
}

/** Values of an encoded column: words come as places in a dictionary. */
function decode(column) {
  return column && column.d ? column.i.map(i => column.d[i]) : column;
}

/** A section with decoded columns; `get(name, row)` is a value or null. */
function prepare(section, place) {
  const columns = {};
  for (const name of Object.keys(section.data)) columns[name] = decode(section.data[name]);
  section.place = place;
  section.by = Object.fromEntries(section.columns.map(([name, type, unit, meaning]) => [name, { name, type, unit, meaning }]));
  section.get = (name, row) => { const values = columns[name]; return values ? values[row] : null; };
  section.has = name => name in columns;
  section.text = Array.from({ length: section.n }, (_, row) =>
    ['name', 'status', 'error_type', 'error', 'flags', 'backend', 'suite', 'cell_id', 'tag']
      .map(name => columns[name] ? columns[name][row] : '').join('\u0001').toLowerCase());
  return section;
}
const sections = report.sections.map(prepare);

/** An element with attributes and children; a child that is no node is text. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  return fill(node, attributes, children);
}
function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}
function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === 'on') for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (value === true) node.setAttribute(key, '');
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

/** A number for human eyes: four significant digits, as in the terminal. */
function number(value, digits = 4) {
  if (value === null || value === undefined || value === '') return '';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value !== 'number') return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  return exponent < -4 || exponent > 6 ? value.toExponential(digits - 1) : value.toFixed(Math.max(0, digits - 1 - exponent));
}

/** Value of a column; a measured number keeps four digits also where it happens to be whole. */
function shown(section, name, row) {
  const value = section.get(name, row), column = section.by[name];
  if (typeof value === 'number' && column && column.type === 'float') {
    return value === 0 ? '0' : Number.isInteger(value) && Math.abs(value) < 1e6 ? value.toPrecision(Math.max(4, String(Math.abs(value)).length)) : number(value);
  }
  return number(value);
}

/** A finite number of a row, or what stands in for it. */
function finite(section, name, row, otherwise = null) {
  const value = section.get(name, row);
  return typeof value === 'number' ? value : otherwise;
}

function title(column) {
  return !column.unit || column.unit === 'x' || column.name.endsWith('_' + column.unit) ? column.name : `${column.name} (${column.unit})`;
}
function plural(count, word) { return `${count} ${word}${count === 1 ? '' : 's'}`; }
function median(values) {
  const ordered = [...values].sort((a, b) => a - b), half = ordered.length >> 1;
  return ordered.length % 2 ? ordered[half] : (ordered[half - 1] + ordered[half]) / 2;
}

function table(heads, rows, numeric = []) {
  const kind = i => numeric.includes(i) ? 'n' : null;
  return el('table', {}, el('thead', {}, el('tr', {}, heads.map((head, i) => el('th', { class: kind(i) }, head)))),
    el('tbody', {}, rows.map(row => el('tr', {}, row.map((cell, i) => el('td', { class: kind(i) }, cell))))));
}

function badge(section, row) {
  const status = section.get('status', row), kind = section.kind[row];
  return el('span', { class: `badge s-${kind}` }, kind === 'unconverged' ? 'unconverged' : status);
}

function copyButton(text) {
  return el('button', { type: 'button', on: { click: event => copy(text(), event.currentTarget) } }, 'Copy');
}
async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el('textarea', {});
    area.value = text;
    $('detail').append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
}

function showTip(event, text) {
  const tip = $('tip');
  tip.textContent = text;
  tip.hidden = false;
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
}
function hideTip() { $('tip').hidden = true; }
