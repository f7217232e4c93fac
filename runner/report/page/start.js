// First paint, and what the reader does.
function showSection(section) {
  Object.assign(state, { section, sort: section.has('speedup') ? 'speedup' : null, down: false, search: '', picks: {}, group: null });
  $('search').value = '';
  document.querySelectorAll('#tabs button').forEach((button, i) => button.setAttribute('aria-selected', String(i === section.place)));
  $('notes').hidden = !section.notes.length;
  $('notes').replaceChildren(...section.notes.map(note => el('p', {}, note)));
  $('subtitle').textContent = section.subtitle;
  drawSummary();
  drawFilters();
  drawHead();
  update();
  drawFailures(section);
  drawFlags(section);
  drawEnvironments(section);
}

function theme() {
  try { return localStorage.getItem('theme'); } catch { return null; }
}
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  try { localStorage.setItem('theme', name); } catch { /* a page from a file may have no storage: the choice lasts as long as the page */ }
}
const isDark = () => (document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';

if (theme()) document.documentElement.dataset.theme = theme();
$('theme').addEventListener('click', () => setTheme(isDark() ? 'light' : 'dark'));
$('tabs').hidden = sections.length < 2;
$('tabs').append(...sections.map(section => el('button', { type: 'button', role: 'tab', on: { click: () => showSection(section) } }, `${section.experiment} (${section.n})`)));
$('footer').textContent = report.footer;
$('search').addEventListener('input', event => { state.search = event.target.value.trim().toLowerCase(); update(); });
$('reset').addEventListener('click', reset);
$('table').addEventListener('scroll', () => drawRows(false), { passive: true });
$('shade').addEventListener('click', close);
addEventListener('hashchange', route);
addEventListener('popstate', route);
addEventListener('resize', () => { drawHead(); drawRows(true); });
addEventListener('keydown', event => {
  if (!opened || event.target.closest('select, input, textarea')) return;
  if (event.key === 'Escape') close();
  if (event.key === 'ArrowRight') step(1);
  if (event.key === 'ArrowLeft') step(-1);
});

showSection(sections[0]);
route();
// The long tables are parsed once the page is there.
setTimeout(() => { phasesReady = true; drawCharts(); }, 50);
