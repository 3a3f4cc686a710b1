"use strict";
(() => {
  const table = document.querySelector("table.index"), tools = document.querySelector(".tools");
  const bodies = [...table.tBodies], heads = [...table.tHead.rows[0].cells];
  const groups = bodies.map(body => [...body.querySelectorAll("[data-key]")]), rows = groups.flat();
  const texts = new Map(rows.map(row => [row, `${row.dataset.key} ${row.textContent}`.toLowerCase()]));
  const [words, only] = tools.querySelectorAll("input"), told = tools.querySelector("output");
  let column = 0, falls = false;

  function show() {
    const sought = words.value.toLowerCase().split(/\s+/);
    let count = 0;
    for (const row of rows) {
      const fits = sought.every(word => texts.get(row).includes(word));
      row.hidden = !fits || (only.checked && !row.classList.contains("fails"));
      count += !row.hidden;
    }
    bodies.forEach((body, i) => {
      const head = body.querySelector(".folder");
      if (head) head.hidden = column > 0 || groups[i].every(row => row.hidden);
    });
    told.textContent = `${count} of ${rows.length} shown`;
  }

  // By the first column the cases stand in their folders, by any other in one list.
  function sort(chosen) {
    const isNumber = heads[chosen].classList.contains("n");
    falls = chosen === column ? !falls : isNumber;
    column = chosen;
    const key = row => {
      const text = row.cells[column].textContent.trim();
      return isNumber ? parseFloat(text.replace(/,/g, "")) || 0 : text.replace("✗", " ");
    };
    const sorted = list => list.map(row => [key(row), row])
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (falls ? -1 : 1)).map(([, row]) => row);
    if (column) bodies[0].append(...sorted(rows));
    else bodies.forEach((body, i) => body.append(...sorted(groups[i])));
    heads.forEach((head, i) => i === column ? head.setAttribute("aria-sort", falls ? "descending" : "ascending")
      : head.removeAttribute("aria-sort"));
    show();
  }

  // "#folder/case/variable" leads to the page of the case, where the variable has its own name.
  function follow() {
    let name = location.hash.slice(1);
    try { name = decodeURIComponent(name); } catch { /* as it is */ }
    if (!name || document.getElementById(name)) return;
    const row = rows.filter(row => name.startsWith(`${row.dataset.key}/`))
      .sort((a, b) => b.dataset.key.length - a.dataset.key.length)[0];
    const link = row && row.querySelector("a");
    if (link && !link.hash) location.replace(`${link.href}#${encodeURIComponent(name.slice(row.dataset.key.length + 1))}`);
  }

  if (!rows.length) return;
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(i));
    head.append(button);
  });
  heads[0].setAttribute("aria-sort", "ascending");
  words.addEventListener("input", show);
  only.addEventListener("change", show);
  addEventListener("hashchange", follow);
  tools.hidden = false;
  show();
  follow();
})();
