"use strict";
(() => {
  const D = JSON.parse(document.getElementById("data").textContent);
  const last = D.stages.length - 1;
  const PAGE = 20;
  const SVG = "http://www.w3.org/2000/svg";
  const at = (id) => document.getElementById(id);

  // Control and bidirectional characters of keys are shown as codes, because they change the order of the text around them.
  const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
  const plain = (text) => text.replace(HIDDEN, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

  function make(name, properties = {}, ...children) {
    const { className, text, data, ...rest } = properties;
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    Object.assign(node.dataset, data || {});
    for (const [key, value] of Object.entries(rest)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function draw(name, attributes = {}, parent = null) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (parent) parent.append(node);
    return node;
  }

  // Photos: the queries' thumbnails come first, then the entries'.
  const photoOf = (number) => "data:image/jpeg;base64," + D.thumbnails[number];
  const photoOfEntry = (entry) => photoOf(D.queries.length + entry);

  const rightFirst = (query, stage) => query.answers[stage].right[0] === true;
  function outcomeOf(query) {
    const before = rightFirst(query, 0), after = rightFirst(query, last);
    if (last === 0) return after ? "right" : "wrong";
    if (D.versus) {
      const right = D.stages.filter((_, stage) => rightFirst(query, stage)).length;
      return right === D.stages.length ? "right" : right ? "some" : "wrong";
    }
    return after ? (before ? "right" : "gained") : before ? "lost" : "wrong";
  }
  const outcomes = D.queries.map(outcomeOf);

  function metres(query, entry) {
    const from = query.at, to = D.entries[entry].at;
    if (!from || !to) return "";
    if (from[0] !== to[0]) return "another city";
    const far = Math.hypot(from[1] - to[1], from[2] - to[2]);
    return far < 2000 ? Math.round(far) + " m" : Math.round(far / 1000) + " km";
  }
  const percent = (share) => Math.round(100 * share) + " %";

  // Filters -------------------------------------------------------------------------------------------------------
  const WORDS = last === 0
    ? { all: "all", right: "right", wrong: "wrong" }
    : D.versus ? { all: "all", right: "all are right", some: "some are right", wrong: "none is right" }
    : { all: "all", gained: "gained", lost: "lost", wrong: "still wrong", right: "right before and after" };
  if (D.versus && last > 0) {
    D.stages.forEach((name, stage) => {
      WORDS["only" + stage] = "only " + plain(name) + " is right";
      if (D.stages.length > 2) WORDS["miss" + stage] = "only " + plain(name) + " is wrong";
    });
  }
  function fits(number, outcome) {
    if (outcome === "all") return true;
    if (!/^(only|miss)/.test(outcome)) return outcomes[number] === outcome;
    const one = Number(outcome.slice(4)), right = outcome.startsWith("only");
    return D.stages.every((_, stage) => rightFirst(D.queries[number], stage) === (right === (stage === one)));
  }
  for (const [value, words] of Object.entries(WORDS)) {
    const count = D.queries.filter((_, number) => fits(number, value)).length;
    at("outcome").append(make("option", { value, text: `${words} (${count})` }));
  }
  at("outcome-label").hidden = !D.scored;
  const facets = D.facets.map((facet, place) => {
    const select = make("select", { data: { facet: facet.name } }, make("option", { value: "", text: "any" }));
    facet.values.forEach((value, number) => {
      const count = D.labels.filter((labels) => labels[place] === number).length;
      select.append(make("option", { value: number, text: `${plain(value)} (${count})` }));
    });
    at("facets").append(make("label", { text: plain(facet.name) + " " }, select));
    return select;
  });
  if (D.queries.some((query) => query.answers[last].probability !== null)) {
    at("order").append(make("option", { value: "unsure", text: "lowest probability first" }));
    at("order").append(make("option", { value: "sure", text: "highest probability first" }));
  }

  let shown = [], chosen = -1, cards = 0;
  function choose() {
    const outcome = at("outcome").value, part = at("find").value.trim().toLowerCase(), order = at("order").value;
    const wanted = facets.map((select) => select.value);
    shown = D.queries.map((_, number) => number).filter((number) =>
      fits(number, outcome)
      && wanted.every((value, place) => value === "" || D.labels[number][place] === Number(value))
      && (!part || plain(D.queries[number].key).toLowerCase().includes(part)));
    if (order !== "file") {
      const sure = (number) => D.queries[number].answers[last].probability ?? -1;
      shown.sort((a, b) => (order === "sure" ? sure(b) - sure(a) : sure(a) - sure(b)) || a - b);
    }
    at("count").textContent = `${shown.length} of ${D.queries.length} queries`;
    at("cards").replaceChildren();
    cards = 0;
    more();
    if (!shown.includes(chosen)) select(shown.length ? shown[0] : -1, false); else mark();
    hideOnMap();
  }
  function more(until = cards + PAGE) {
    for (; cards < Math.min(until, shown.length); cards++) at("cards").append(card(shown[cards]));
    at("more").hidden = cards >= shown.length;
  }

  // Cards ---------------------------------------------------------------------------------------------------------
  function card(number) {
    const query = D.queries[number];
    const labels = D.facets.map((facet, place) => plain(facet.values[D.labels[number][place]])).join(", ");
    const own = make("div", {},
      make("img", { src: photoOf(number), alt: "Query", loading: "lazy", decoding: "async" }),
      make("div", {}, make("p", { className: "key", text: plain(query.key) }), make("p", { text: labels })));
    const facts = own.lastElementChild;
    if (D.scored) {
      const outcome = outcomes[number], good = outcome !== "wrong" && outcome !== "lost";
      facts.append(make("span", { className: "tag " + (good ? "right" : "wrong"), text: WORDS[outcome] }));
      const ranks = query.answers.map((answers) => answers.rank ?? "none").join(D.versus ? ", " : " → ");
      facts.append(make("p", { text: `first right answer at rank ${ranks}` }));
    }
    const sure = query.answers[last].probability;
    if (sure !== null) facts.append(make("p", { text: `probability ${percent(sure)}` }));
    const rows = make("div");
    query.answers.forEach((answers, stage) => rows.append(row(number, stage, answers)));
    return make("article", { className: "card", data: { query: number }, "aria-label": "Query " + plain(query.key) }, own, rows);
  }
  function row(number, stage, answers) {
    const line = make("div", { className: "answers" }, make("h3", { text: plain(D.stages[stage]) }));
    answers.entries.forEach((entry, place) => {
      const right = answers.right[place], kind = !D.scored ? "" : right ? " right" : " wrong";
      const scores = [answers.global, answers.structural]
        .map((side) => (side && side[place] !== null && side[place] !== undefined ? side[place].toFixed(2) : null))
        .filter((text) => text !== null);
      const where = metres(D.queries[number], entry) || plain(D.entries[entry].key);
      const mark = !D.scored ? "" : right ? "✓ " : "✗ ";
      line.append(make("button", {
        type: "button", className: "answer" + kind, data: { stage, place },
        title: plain(D.entries[entry].key), "aria-label": `${mark}answer ${place + 1} of ${plain(D.stages[stage])}, ${where}`,
      }, make("img", { src: photoOfEntry(entry), alt: "", loading: "lazy", decoding: "async" }),
        make("span", { text: mark + where }), make("span", { text: scores.join(" · "), title: "S_global · S_struct" })));
    });
    return line;
  }
  function mark() {
    for (const node of document.querySelectorAll(".card.chosen, .query.chosen")) node.classList.remove("chosen");
    const node = document.querySelector(`.card[data-query="${chosen}"]`);
    if (node) node.classList.add("chosen");
    const dot = document.querySelector(`.query[data-query="${chosen}"]`);
    if (dot) { dot.classList.add("chosen"); dot.parentNode.append(dot); }
    return node;
  }
  function select(number, scroll = true) {
    chosen = number;
    const place = shown.indexOf(number);
    if (place >= cards) more(place + PAGE);
    showGroup(number);
    const node = mark();
    if (scroll && node) node.scrollIntoView({ block: "nearest" });
  }
  function step(by) {
    const place = shown.indexOf(chosen) + by;
    if (place >= 0 && place < shown.length) select(shown[place]);
  }

  // Pair ----------------------------------------------------------------------------------------------------------
  const dialog = at("pair"), modes = ["matches", "marginals", "left out", "geometry"];
  let pair = null, mode = "matches";
  for (const name of modes) {
    const input = make("input", { type: "radio", name: "mode", value: name });
    input.checked = name === mode;
    input.addEventListener("change", () => { mode = name; paint(); });
    at("pair-modes").append(make("label", { data: { mode: name } }, input, " " + name));
  }
  function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const cells = D.matches.grid ** 2, targets = D.matches.targets;
    let from = 0;
    const take = (count) => bytes.subarray(from, (from += count));
    const weights = [take(cells), take(cells)], taken = [take(cells), take(cells)];
    const to = take(cells * targets), mass = take(cells * targets);
    const count = take(1)[0], lines = take(2 * D.matches.lines);
    const score = take(1)[0] / 255, numbers = new DataView(bytes.buffer, from, 12);
    const map = Array.from({ length: 6 }, (_, k) => numbers.getInt16(2 * k, true) / D.matches.steps);
    const joined = Array.from({ length: count }, (_, k) => [lines[2 * k], lines[2 * k + 1]]);
    return { weights, taken, to, mass, lines: joined, score, map };
  }
  function open(number, stage, place) {
    const query = D.queries[number], answers = query.answers[stage], entry = answers.entries[place];
    if (entry === undefined) return;
    const packed = D.matches && D.matches.pairs[`${number}-${entry}`];
    pair = { number, stage, place, entry, match: packed ? unpack(packed) : null };
    at("pair-title").textContent = `Answer ${place + 1}, ${plain(D.stages[stage])}`;
    const score = (name, side) => (side && side[place] !== null && side[place] !== undefined ? `${name} ${side[place].toFixed(3)}` : "");
    at("pair-scores").textContent = [
      D.scored ? (answers.right[place] ? "✓ right" : "✗ wrong") : "", metres(query, entry),
      score("S_global", answers.global), score("S_struct", answers.structural),
      D.matched && packed ? `matches by ${plain(D.matched)}` : "",
    ].filter(Boolean).join(" · ");
    const sides = dialog.querySelectorAll("figure");
    [[photoOf(number), query.key], [photoOfEntry(entry), D.entries[entry].key]].forEach(([photo, key], side) => {
      sides[side].querySelector("img").src = photo;
      sides[side].querySelector("figcaption").textContent = (side ? "answer " : "query ") + plain(key);
    });
    at("pair-modes").hidden = !pair.match;
    const all = !pair.match || pair.match.taken.every((side) => side.every((share) => share > 230));
    dialog.querySelector('[data-mode="left out"]').hidden = all;
    if (all && mode === "left out") { mode = "matches"; dialog.querySelector('input[value="matches"]').checked = true; }
    if (!dialog.open) dialog.showModal();
    buildPatches();
    paint();
  }
  function buildPatches() {
    dialog.querySelectorAll(".patches").forEach((svg) => {
      svg.replaceChildren();
      if (!pair.match) return;
      const grid = D.matches.grid;
      svg.setAttribute("viewBox", `0 0 ${grid} ${grid}`);
      for (let patch = 0; patch < grid * grid; patch++) {
        const place = { x: patch % grid, y: Math.floor(patch / grid), width: 1, height: 1, "data-patch": patch };
        draw("rect", place, svg);
      }
    });
  }
  // If a model takes only the central square of a photo, the patches cover that square.
  function placePatches(image) {
    const [width, height] = [image.naturalWidth, image.naturalHeight], middle = D.matches ? D.matches.middle : 0;
    if (!middle || !width) return;
    const side = Math.min(width, height) * middle, svg = image.nextElementSibling;
    const share = { left: (width - side) / 2 / width, top: (height - side) / 2 / height, width: side / width, height: side / height };
    for (const [name, value] of Object.entries(share)) svg.style[name] = 100 * value + "%";
  }
  const rects = (side) => dialog.querySelectorAll(`[data-side="${side}"] rect`);
  function paint() {
    at("pair-lines").replaceChildren();
    at("pair-photos").classList.toggle("heat", mode === "marginals" && !!pair.match);
    if (!pair.match) { at("pair-hint").textContent = "This page has no match of this pair."; return; }
    for (const side of [0, 1]) {
      const weights = pair.match.weights[side], least = Math.min(...weights), span = Math.max(...weights) - least || 1;
      rects(side).forEach((rect, patch) => {
        rect.classList.remove("here");
        const weight = (weights[patch] - least) / span, left = 1 - pair.match.taken[side][patch] / 255;
        rect.style.fill = mode === "marginals" ? `rgb(240 160 40 / ${0.85 * weight})`
          : mode === "left out" ? `rgb(20 20 30 / ${0.85 * left})` : "transparent";
      });
    }
    at("pair-hint").textContent = {
      matches: "The strongest correspondences. Point at a patch to see where its mass goes.",
      marginals: "The marginal of each patch, from small (dark) to large. Point at a patch to see where its mass goes.",
      "left out": "The mass of dark patches is not moved: they are not visible in the other photo. Point at a patch to see where its mass goes.",
      geometry: `The grid of the query, as the fitted map places it in the other photo. ${Math.round(100 * pair.match.score)} % of the moved mass follow the map.`,
    }[mode];
    if (mode === "matches") lines();
    if (mode === "geometry") grids();
  }
  function lines() {
    const box = at("pair-photos").getBoundingClientRect();
    const centre = (side, patch) => {
      const found = rects(side)[patch].getBoundingClientRect();
      return [found.left + found.width / 2 - box.left, found.top + found.height / 2 - box.top];
    };
    pair.match.lines.forEach(([own, other], place) => {
      const [x1, y1] = centre(0, own), [x2, y2] = centre(1, other), strength = 1 - place / D.matches.lines;
      draw("line", { x1, y1, x2, y2, "stroke-width": 1 + 2 * strength, "stroke-opacity": 0.35 + 0.6 * strength }, at("pair-lines"));
      for (const [cx, cy] of [[x1, y1], [x2, y2]]) draw("circle", { cx, cy, r: 2 + 2 * strength }, at("pair-lines"));
    });
  }
  // The grid of the query, and where the fitted map places it; cells are counted from the middle of a grid.
  function grids() {
    const box = at("pair-photos").getBoundingClientRect(), grid = D.matches.grid, map = pair.match.map;
    const maps = [[1, 0, 0, 0, 1, 0], map];
    for (const side of [0, 1]) {
      const all = rects(side), first = all[0].getBoundingClientRect(), last = all[all.length - 1].getBoundingClientRect();
      const middle = [(first.left + last.right) / 2 - box.left, (first.top + last.bottom) / 2 - box.top];
      const cell = [(last.right - first.left) / grid, (last.bottom - first.top) / grid], [a, b, c, d, e, f] = maps[side];
      const place = (x, y) => [middle[0] + cell[0] * (a * x + b * y + c), middle[1] + cell[1] * (d * x + e * y + f)];
      for (let k = 0; k <= grid; k++) {
        const at1 = k - grid / 2, end = grid / 2;
        for (const ends of [[place(at1, -end), place(at1, end)], [place(-end, at1), place(end, at1)]]) {
          const [[x1, y1], [x2, y2]] = ends;
          draw("line", { x1, y1, x2, y2, "stroke-width": 1, "stroke-opacity": 0.8 }, at("pair-lines"));
        }
      }
    }
  }
  function point(side, patch) {
    const { to, mass } = pair.match, targets = D.matches.targets, shares = new Float32Array(D.matches.grid ** 2);
    let sum = 0;
    for (let own = 0; own < shares.length; own++) {
      for (let k = 0; k < targets; k++) {
        const other = to[own * targets + k], share = mass[own * targets + k] / 255;
        if (side === 0 && own === patch) { shares[other] = share; sum += share; }
        if (side === 1 && other === patch) shares[own] = share;
      }
    }
    const most = Math.max(...shares) || 1;
    at("pair-lines").replaceChildren();
    rects(side).forEach((rect, number) => {
      rect.classList.toggle("here", number === patch);
      rect.style.fill = number === patch ? "rgb(255 210 63 / .35)" : "transparent";
    });
    rects(1 - side).forEach((rect, number) => {
      rect.classList.remove("here");
      rect.style.fill = shares[number] ? `rgb(255 210 63 / ${0.15 + 0.7 * shares[number] / most})` : "rgb(20 20 30 / .35)";
    });
    at("pair-hint").textContent = side === 1 ? "The highlighted patches of the query send mass here."
      : sum < 0.02 ? "No mass of this patch is moved." : `${percent(Math.min(1, sum))} of the mass of this patch goes to the highlighted patches.`;
  }
  at("pair-photos").addEventListener("pointerover", (event) => {
    const rect = event.target.closest("rect[data-patch]");
    if (rect && pair && pair.match) point(Number(rect.closest(".photo").dataset.side), Number(rect.dataset.patch));
  });
  at("pair-photos").addEventListener("pointerleave", () => pair && paint());
  at("pair-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  addEventListener("resize", () => { if (dialog.open) paint(); });
  dialog.querySelectorAll("img").forEach((image) => image.addEventListener("load", () => { placePatches(image); if (dialog.open) paint(); }));

  // Map -----------------------------------------------------------------------------------------------------------
  const map = at("map-svg"), groups = [...new Set(D.queries.filter((query) => query.at).map((query) => query.at[0]))].sort((a, b) => a - b);
  let group = -1, view = null, whole = null;
  const cityFacet = D.facets.findIndex((facet) => facet.name === "city");
  function nameOf(wanted) {
    const number = D.queries.findIndex((query) => query.at && query.at[0] === wanted);
    return cityFacet < 0 ? `map ${wanted + 1}` : plain(D.facets[cityFacet].values[D.labels[number][cityFacet]]);
  }
  function drawMap(wanted) {
    group = wanted;
    map.replaceChildren();
    for (const tab of at("map-groups").children) tab.setAttribute("aria-selected", String(Number(tab.dataset.group) === group));
    const places = [...D.entries, ...D.queries].filter((one) => one.at && one.at[0] === group).map((one) => one.at);
    const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
    for (const [, east, north] of places) {
      [east, -north].forEach((value, axis) => {
        low[axis] = Math.min(low[axis], value);
        high[axis] = Math.max(high[axis], value);
      });
    }
    const size = [high[0] - low[0], high[1] - low[1]], edge = 0.05 * Math.max(...size, 20);
    whole = [low[0] - edge, low[1] - edge, size[0] + 2 * edge, size[1] + 2 * edge];
    const layers = [draw("g", {}, map), draw("g", {}, map), draw("g", {}, map)];
    const base = D.entries.filter((entry) => entry.at && entry.at[0] === group);
    draw("path", { class: "base", d: base.map((entry) => `M${entry.at[1]} ${-entry.at[2]}h0`).join("") }, layers[0]);
    D.queries.forEach((query, number) => {
      if (!query.at || query.at[0] !== group) return;
      const kind = !D.scored ? "unscored" : rightFirst(query, last) ? "right" : "wrong";
      const first = query.answers[last].entries[0], to = first === undefined ? null : D.entries[first].at;
      if (to && to[0] === group) {
        draw("line", { class: kind, "data-line": number, x1: query.at[1], y1: -query.at[2], x2: to[1], y2: -to[2] }, layers[1]);
      }
      const dot = draw("circle", { class: "query " + kind, "data-query": number, cx: query.at[1], cy: -query.at[2] }, layers[2]);
      draw("title", {}, dot).textContent = plain(query.key);
    });
    look(whole);
    hideOnMap();
  }
  function look(box) {
    view = box;
    map.setAttribute("viewBox", box.join(" "));
    const frame = map.getBoundingClientRect(), pixel = Math.max(box[2] / (frame.width || 600), box[3] / (frame.height || 400));
    for (const dot of map.querySelectorAll("circle.query")) dot.setAttribute("r", 4 * pixel);
    const length = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000].findLast((m) => m / pixel < 130) || 1;
    at("map-scale").style.width = length / pixel + "px";
    at("map-scale").replaceChildren(make("span", { text: length < 1000 ? length + " m" : length / 1000 + " km" }));
  }
  function zoom(factor, x = view[0] + view[2] / 2, y = view[1] + view[3] / 2) {
    look([x + (view[0] - x) * factor, y + (view[1] - y) * factor, view[2] * factor, view[3] * factor]);
  }
  function hideOnMap() {
    const there = new Set(shown);
    for (const node of map.querySelectorAll("[data-query], [data-line]")) {
      node.classList.toggle("hidden", !there.has(Number(node.dataset.query ?? node.dataset.line)));
    }
  }
  function showGroup(number) {
    const place = number >= 0 ? D.queries[number].at : null;
    if (place && place[0] !== group) { drawMap(place[0]); mark(); }
  }
  if (groups.length) {
    at("map").hidden = false;
    for (const one of groups) {
      const tab = make("button", { type: "button", role: "tab", text: nameOf(one), data: { group: one } });
      tab.addEventListener("click", () => { drawMap(one); mark(); });
      at("map-groups").append(tab, " ");
    }
    at("map-groups").hidden = groups.length === 1;
    drawMap(groups[0]);
    const there = (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
      return [place.x, place.y];
    };
    map.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY > 0 ? 1.25 : 0.8, ...there(event)); }, { passive: false });
    let held = null;
    map.addEventListener("pointerdown", (event) => { if (!event.target.closest(".query")) held = there(event); });
    map.addEventListener("pointermove", (event) => {
      if (!held || !event.buttons) { held = null; return; }
      const [x, y] = there(event);
      look([view[0] + held[0] - x, view[1] + held[1] - y, view[2], view[3]]);
    });
    map.addEventListener("click", (event) => {
      const dot = event.target.closest(".query");
      if (dot) select(Number(dot.dataset.query));
    });
    at("map-buttons").addEventListener("click", (event) => {
      const how = event.target.dataset.zoom;
      if (how) how === "all" ? look(whole) : zoom(how === "in" ? 0.7 : 1.4);
    });
  }

  // Events --------------------------------------------------------------------------------------------------------
  for (const node of [at("outcome"), at("order"), ...facets]) node.addEventListener("change", choose);
  at("find").addEventListener("input", choose);
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("more").addEventListener("click", () => more());
  at("cards").addEventListener("click", (event) => {
    const node = event.target.closest(".card");
    if (!node) return;
    select(Number(node.dataset.query), false);
    const answer = event.target.closest(".answer");
    if (answer) open(chosen, Number(answer.dataset.stage), Number(answer.dataset.place));
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (dialog.open) {
      if (event.target.matches("input[type=radio]") && event.key.startsWith("Arrow")) return;
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by) { event.preventDefault(); open(pair.number, pair.stage, pair.place + by); }
      return;
    }
    if (event.target.matches("input, select, textarea")) return;
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      event.preventDefault();
      step(event.key === "ArrowRight" ? 1 : -1);
    } else if (event.key === "Enter" && !event.target.closest("button, summary") && chosen >= 0) {
      event.preventDefault();
      open(chosen, last, 0);
    } else if (event.key === "/") {
      event.preventDefault();
      at("find").focus();
    }
  });
  new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) more(); }, { rootMargin: "600px" }).observe(at("more"));
  choose();
})();
