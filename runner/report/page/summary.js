// Tiles, groups, charts, failures, flags and environments of a section.
function tile(name, value, ...more) {
  const long = typeof value === 'string' || String(value[0]).includes(' to ');
  return el('div', { class: 'tile' }, el('div', { class: 'name' }, name), el('div', { class: long ? 'value long' : 'value' }, value), el('div', { class: 'more' }, more));
}
const line = (left, right) => el('div', {}, el('span', {}, left), right ? el('span', {}, right) : null);

function countBar(counts) {
  return el('div', { class: 'bar', role: 'img', 'aria-label': countWords(counts) }, Object.entries(counts).filter(([, n]) => n)
    .map(([kind, n]) => el('i', { class: `k-${kind}`, style: `flex:${n}`, title: `${n} ${kind}` })));
}
function countWords(counts) {
  return Object.entries(counts).filter(([, n]) => n).map(([kind, n]) => `${n} ${kind}`).join(', ');
}
function total(groups) {
  const counts = {};
  for (const group of groups) for (const [kind, n] of Object.entries(group.counts)) counts[kind] = (counts[kind] || 0) + n;
  return { counts, passed: groups.reduce((sum, g) => sum + g.passed, 0), attempted: groups.reduce((sum, g) => sum + g.attempted, 0) };
}
const percent = (n, of) => of ? `${(100 * n / of).toFixed(1)} %` : '-';
const ends = interval => interval ? `${interval[0].toFixed(4)} to ${interval[1].toFixed(4)}` : 'unknown';
function range(values, text) {
  const lo = Math.min(...values), hi = Math.max(...values);
  return lo === hi ? text(lo) : `${text(lo)} to ${text(hi)}`;
}

function drawSummary() {
  const section = state.section, all = section.groups;
  const groups = state.group === null ? all : [all[state.group]], sum = total(groups);
  const made = [tile('Pass rate', [percent(sum.passed, sum.attempted), ' ', el('small', {}, `${sum.passed} of ${sum.attempted}`)], countBar(sum.counts), line(countWords(sum.counts)))];
  const means = groups.filter(group => group.speedup);
  if (means.length === 1) made.push(meanTile(means[0]));
  else if (means.length) made.push(tile('Speedup, geometric mean', range(means.map(g => g.speedup.center), v => `${v.toFixed(3)}x`), line(`across ${means.length} groups: choose one below`)));
  made.push(averageTile('Compile time, mean', groups, 'compile', v => `${number(v, 3)} s`, 'first call of the backend'));
  made.push(averageTile('Memory ratio, mean', groups, 'memory', v => `${number(v, 3)}x`, 'eager over backend: above 1 needs less'));
  $('tiles').replaceChildren(...made.filter(Boolean));
  drawGroups(section);
}
function meanTile(group) {
  const mean = group.speedup;
  return tile('Speedup, geometric mean', [`${mean.center.toFixed(4)}x`, ' ', el('small', {}, plural(mean.n, 'model'))],
    line('measurement interval', ends(mean.measurement)), line('suite interval', ends(mean.suite)), group.left_out ? line(`left out: ${group.left_out}`) : null);
}
function averageTile(name, groups, key, text, meaning) {
  const found = groups.filter(group => group[key]);
  if (!found.length) return null;
  const n = found.reduce((count, group) => count + group[key].n, 0);
  return tile(name, [range(found.map(group => group[key].mean), text), ' ', el('small', {}, plural(n, 'model'))], line(meaning));
}

function drawGroups(section) {
  $('groups').hidden = section.groups.length < 2;
  if (section.groups.length < 2) return;
  const keys = section.keys.filter(key => section.groups.some(group => group.labels[key]));
  const heads = [...keys, 'pass rate', 'speedup (gmean)', 'measurement interval', 'suite interval', 'compile_s', 'memory ratio', 'left out'];
  const made = table(heads, section.groups.map(group => [
    ...keys.map(key => group.labels[key]), `${percent(group.passed, group.attempted)} (${group.passed}/${group.attempted})`,
    group.speedup ? `${group.speedup.center.toFixed(4)}x` : '', group.speedup ? ends(group.speedup.measurement) : '', group.speedup ? ends(group.speedup.suite) : '',
    group.compile ? number(group.compile.mean) : '', group.memory ? number(group.memory.mean) : '', group.left_out,
  ]));
  made.querySelectorAll('tbody tr').forEach((line, i) => {
    line.className = state.group === i ? 'link on' : 'link';
    line.addEventListener('click', () => pickGroup(i));
  });
  $('groups').querySelector('div').replaceChildren(made);
}

function chartCard(name, meaning, body, wide) {
  return body && el('div', { class: wide ? 'card wide' : 'card' }, el('h2', {}, name), el('p', { class: 'soft' }, meaning), body);
}

let phasesReady = false;
function drawCharts() {
  const section = state.section, rows = state.rows, made = [];
  const sorted = atWidth(640, () => sortedChart(section, rows));
  if (sorted) made.push(chartCard('Speedups, sorted', 'Each model with its interval; the dashed line is eager.', [sorted, legend()]));
  made.push(chartCard('Speedup against latency', 'Is it the small or the large models that gain?', atWidth(640, () => scatterChart(section, rows))));
  if (phasesReady) made.push(chartCard('Where compiling spends its time', 'Mean over the models shown; phases nest, so they do not add up.', phaseSummary(section, rows), true));
  $('charts').replaceChildren(...made.filter(Boolean));
}

/** The long tables of a section, with places of each model's lines. */
function longTables(section) {
  section.tables ??= Object.entries(details().tables[section.place] || {}).map(([name, packed]) => {
    const columns = packed.columns.map(([column]) => decode(packed.data[column])), lines = new Map();
    packed.row.forEach((row, i) => { if (!lines.has(row)) lines.set(row, []); lines.get(row).push(i); });
    return { name, heads: packed.columns, columns, lines, cut: new Set(packed.cut) };
  });
  return section.tables;
}
function phaseTable(section) {
  const found = longTables(section).find(({ heads }) => ['phase', 'seconds'].every(name => heads.some(head => head[0] === name)));
  return found && { ...found, phase: found.columns[found.heads.findIndex(h => h[0] === 'phase')], seconds: found.columns[found.heads.findIndex(h => h[0] === 'seconds')] };
}
function phaseSummary(section, rows) {
  const found = phaseTable(section), sums = new Map();
  if (!found) return null;
  let models = 0;
  for (const row of rows) {
    const lines = found.lines.get(row);
    if (!lines) continue;
    models += 1;
    for (const i of lines) {
      const entry = sums.get(found.phase[i]) || [0, 0];
      entry[0] += found.seconds[i]; entry[1] += 1;
      sums.set(found.phase[i], entry);
    }
  }
  if (!models) return null;
  const entries = [...sums].map(([name, [seconds, n]]) => [name, seconds / models, `in ${n} of ${plural(models, 'model')}`]).sort((a, b) => b[1] - a[1]);
  return phaseBars(entries, 12);
}

function drawFailures(section) {
  const box = $('failures');
  box.hidden = !section.buckets.length;
  const rows = section.buckets.map(bucket => [String(bucket.rows.length), el('span', { class: `s-${bucket.kind}` }, bucket.status), bucket.message, names(section, bucket.rows)]);
  box.replaceChildren(el('h2', {}, 'Failures by message'), el('div', { class: 'scroll-x' }, table(['count', 'status', 'message', 'models'], rows, [0])));
}
function names(section, rows) {
  const links = rows.slice(0, 6).flatMap((row, i) => [i ? ', ' : '', el('a', { href: `#${section.place}/${row}` }, section.get('name', row))]);
  return el('span', {}, links, rows.length > 6 ? ` and ${rows.length - 6} more` : '');
}

function drawFlags(section) {
  const counts = new Map();
  for (let row = 0; row < section.n; row++) for (const flag of pickValues(section, 'flag', row)) counts.set(flag, (counts.get(flag) || 0) + 1);
  $('flags').hidden = !counts.size;
  $('flags').replaceChildren(el('h2', {}, 'Flags'), el('p', { class: 'soft' }, 'What was remarkable about measurements; click one to see its models.'),
    el('div', {}, [...counts].sort((a, b) => b[1] - a[1]).map(([flag, n]) => el('button', { type: 'button', class: 'flagword', on: {
      click: () => { pick('flag', flag); document.querySelector('.list').scrollIntoView(); } } }, `${flag} ${n}`))));
}

function environmentTable(run) {
  return el('div', { class: 'scroll-x' }, table(['', ''], [['folder', run.directory], ['started', run.started], ['command', run.command], ['env_id', run.env_id], ...run.environment].filter(pair => pair[1])));
}
function drawEnvironments(section) {
  const used = [...new Set(section.run)].map(i => report.runs[i]).filter(run => run);
  const byEnvironment = new Map();
  for (const run of used) {
    const key = JSON.stringify(run.environment);
    if (!byEnvironment.has(key)) byEnvironment.set(key, []);
    byEnvironment.get(key).push(run);
  }
  $('environments').hidden = !used.length;
  $('environments').replaceChildren(el('h2', {}, 'Environment'), ...[...byEnvironment.values()].map(runs =>
    el('details', {}, el('summary', {}, runs.length === 1 ? runs[0].directory : `${runs[0].directory} and ${plural(runs.length - 1, 'run')} more in the same environment`), environmentTable(runs[0]))));
}
