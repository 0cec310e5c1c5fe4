// Keeps a page up to date: asks for its pieces again and again, and puts in what has changed.
(function () {
  "use strict";
  const EVERY = Number(document.body.dataset.every);
  const gone = document.querySelector(".gone");
  const piece = document.querySelector("[data-refresh]");
  let tag = null;
  let ahead = 0; // how much later the server's clock is than ours, in seconds

  // -------------------------------------------------------------------------------------------------------- times

  function ago(seconds) {
    if (seconds < 60) { return Math.round(seconds) + " s ago"; }
    if (seconds < 3600) { return Math.round(seconds / 60) + " min ago"; }
    if (seconds < 172800) { return Math.round(seconds / 3600) + " h ago"; }
    return Math.round(seconds / 86400) + " days ago";
  }

  function tell() {
    document.querySelectorAll("time[data-at]").forEach(function (place) {
      const at = Number(place.dataset.at);
      const text = at ? ago(Math.max(0, Date.now() / 1000 + ahead - at)) : "";
      if (place.textContent !== text) { place.textContent = text; }
      if (at && !place.title) { place.title = new Date(at * 1000).toLocaleString(); }
    });
  }

  // --------------------------------------------------------------------------------------------- the list of runs

  const find = document.querySelector("[data-find]");
  const compare = document.querySelector("[data-compare]");
  const chosen = document.querySelector("[data-chosen]");
  let sorted = null; // which column, and which way

  function cell(row, column) { return row.cells[column].dataset.value || ""; }

  function sort() {
    const body = document.querySelector("tbody");
    if (!body || sorted === null) { return; }
    const heads = Array.from(document.querySelectorAll("thead th"));
    const numeric = heads[sorted.column].dataset.sort === "number";
    const rows = Array.from(body.rows);
    rows.sort(function (a, b) {
      const one = cell(a, sorted.column), other = cell(b, sorted.column);
      if (!numeric) { return sorted.way * one.localeCompare(other, undefined, { numeric: true }); }
      const x = parseFloat(one), y = parseFloat(other);
      if (Number.isNaN(x) || Number.isNaN(y)) { return Number.isNaN(x) - Number.isNaN(y); } // what is missing is last
      return sorted.way * (x - y);
    });
    rows.forEach((row, place) => { if (body.rows[place] !== row) { body.insertBefore(row, body.rows[place] || null); } });
    heads.forEach((head, column) => {
      if (column === sorted.column) { head.setAttribute("aria-sort", sorted.way > 0 ? "ascending" : "descending"); }
      else { head.removeAttribute("aria-sort"); }
    });
  }

  function sift() {
    const words = find ? find.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
    document.querySelectorAll("tbody tr").forEach(function (row) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    });
  }

  function count() {
    if (!compare) { return; }
    const ticked = document.querySelectorAll("tbody input:checked").length;
    compare.disabled = ticked < 2;
    compare.textContent = ticked < 2 ? "Compare" : "Compare " + ticked;
    chosen.textContent = ticked === 0 ? "tick two runs or more" : ticked === 1 ? "one more" : "";
  }

  document.addEventListener("change", function (event) { if (event.target.name === "run") { count(); } });
  if (find) { find.addEventListener("input", sift); }
  document.addEventListener("click", function (event) {
    const head = event.target.closest && event.target.closest("th[data-sort]");
    if (!head) { return; }
    const column = head.cellIndex;
    sorted = { column: column, way: sorted && sorted.column === column ? -sorted.way : 1 };
    sort();
  });

  // Rows that are as they were stay where they are, with their ticks.
  function replaceRows(fresh) {
    const before = piece.querySelector("tbody"), after = fresh.querySelector("tbody");
    if (!before || !after) {
      if (Boolean(before) !== Boolean(after)) { window.location.reload(); }
      return;
    }
    Array.from(piece.children).filter((line) => line.tagName === "P").forEach((line) => line.remove());
    Array.from(fresh.children).filter((line) => line.tagName === "P").reverse().forEach((line) => piece.prepend(line));
    const known = new Map(Array.from(before.rows).map((row) => [row.dataset.key, row]));
    Array.from(after.rows).forEach(function (row, place) {
      const old = known.get(row.dataset.key);
      known.delete(row.dataset.key);
      const source = row.outerHTML;
      if (old && old.source === source) { row = old; }
      else {
        row.source = source;
        const tick = old && old.querySelector("input"), own = row.querySelector("input");
        if (tick && own) { own.checked = tick.checked; }
        if (old) {
          const focused = old.contains(document.activeElement) && document.activeElement.tagName;
          old.replaceWith(row);
          if (focused) { (row.querySelector(focused) || own).focus(); }
        }
      }
      if (!sorted && before.rows[place] !== row) { before.insertBefore(row, before.rows[place] || null); }
      else if (row.parentElement !== before) { before.append(row); }
    });
    known.forEach((row) => row.remove());
    sort(); sift(); count();
  }

  // -------------------------------------------------------------------------------------------- a report in a frame

  const pages = document.querySelector("[data-page]");
  const keepUp = document.querySelector("[data-keep-up]");
  let shown = pages && piece.querySelector("[data-mark]").dataset.mark;
  let coming = false, next = 0;

  // The new page takes the place of the old one when it has been drawn, scrolled to where the old one was.
  function turn(mark) {
    if (mark === shown || coming || (keepUp && !keepUp.checked) || Date.now() < next) { return; }
    coming = true;
    const began = Date.now(), old = pages.querySelector("iframe"), frame = document.createElement("iframe");
    frame.className = "coming";
    frame.title = old.title;
    frame.addEventListener("load", function () {
      const place = old.contentWindow ? old.contentWindow.scrollY : 0;
      frame.contentWindow.scrollTo(0, place);
      frame.className = "";
      old.remove();
      shown = mark; coming = false;
      next = Date.now() + 5 * (Date.now() - began); // drawing is to take a small share of the time
    });
    frame.src = pages.dataset.page;
    pages.append(frame);
  }

  function replaceBar(fresh) {
    const before = piece.firstElementChild, after = fresh.firstElementChild;
    const open = before.querySelector("details[open]"), own = after.querySelector("details");
    if (open && own) { own.open = true; }
    if (before.outerHTML !== after.outerHTML) { before.replaceWith(after); }
  }

  // ------------------------------------------------------------------------------------------------------- keeping up

  async function ask() {
    let wait = EVERY;
    if (!document.hidden) {
      const began = Date.now();
      try {
        const headers = tag === null ? {} : { "If-None-Match": tag };
        const answer = await fetch(piece.dataset.refresh, { headers: headers, cache: "no-store" });
        if (answer.headers.get("Date")) { ahead = Math.round((Date.parse(answer.headers.get("Date")) - Date.now()) / 1000); }
        if (answer.status === 200) {
          const fresh = document.createElement("template");
          fresh.innerHTML = await answer.text();
          tag = answer.headers.get("ETag");
          if (pages) { replaceBar(fresh.content); } else { replaceRows(fresh.content); }
        }
        gone.hidden = true;
        if (pages && answer.status < 400) { turn(piece.querySelector("[data-mark]").dataset.mark); }
      } catch (error) {
        gone.hidden = false;
        wait = 2 * EVERY;
      }
      wait = Math.max(wait, 10 * (Date.now() - began));
      tell();
    }
    setTimeout(ask, wait);
  }

  if (piece) {
    count(); tell();
    setInterval(tell, 1000);
    ask();
  }
})();
