"use strict";

// All addresses are relative: a proxy may serve the page under a path.

const one = (selector, root = document) => root.querySelector(selector);
const limits = document.body.dataset;
const waiting = [];
let working = false;

function line(parent, text) {
  const node = document.createElement("small");
  node.textContent = text;
  parent.append(node);
}

function card(file) {
  const node = one("#answer").content.firstElementChild.cloneNode(true);
  const picture = one(".own img", node);
  picture.addEventListener("error", () => { picture.hidden = true; });  // HEIC and TIFF, in most browsers
  picture.src = URL.createObjectURL(file);
  one("figcaption", node).textContent = file.name;
  node.classList.add("waiting");
  one(".state", node).textContent = "Waiting …";
  one("#answers").prepend(node);
  return node;
}

function fail(node, reason) {
  node.className = "failed";
  one(".state", node).textContent = "No answer";
  one(".confidence", node).textContent = reason;
}

// a share of a refused photo is rounded down, so that it never reads like the threshold that it does not reach
const percent = (share, found) => `${found.on_map ? Math.round(100 * share) : Math.floor(100 * share + 1e-9)} %`;

const short = (length) => Number(length.toPrecision(3));
const counted = (frames) => `${Number(frames.toFixed(1))} ${frames === 1 ? "frame" : "frames"}`;

// the answer of a map whose positions are not on Earth
function localPlace(found) {
  if (found.place !== undefined) return found.place;
  if (found.frame !== undefined) return `frame ${found.frame}, within ${counted(found.radius_frames)}`;
  return `x ${found.x.toFixed(2)} m, y ${found.y.toFixed(2)} m, within ${short(found.radius_m)} m`;
}

function place(node, found) {
  const best = found.on_map ? "" : "Best guess: ";
  if (found.latitude === undefined) {
    one(".place", node).append(best + localPlace(found));
    return;
  }
  const [latitude, longitude] = [found.latitude.toFixed(6), found.longitude.toFixed(6)];
  const link = document.createElement("a");
  link.href = `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=18/${latitude}/${longitude}`;
  link.textContent = "OpenStreetMap";
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  one(".place", node).append(`${best}${latitude}, ${longitude}, within ${Math.round(found.radius_m)} m  · `, link);
}

function confidence(node, found) {
  const parts = [];
  if (found.probability !== null) {
    one(".bar", node).hidden = false;
    one(".bar span", node).style.width = `${100 * found.probability}%`;
    parts.push(`${percent(found.probability, found)} probable`);
  } else {
    parts.push("No probability available for this map");
  }
  if (found.on_map_probability !== null) parts.push(`on the map: ${percent(found.on_map_probability, found)}`);
  one(".confidence", node).textContent = parts.join(", ");
  const where = found.place === undefined ? "within the radius" : "at this place";
  one(".confidence", node).title = `Probability that the photo was taken ${where}, if its place is on the map; and that it is on the map.`;
}

function away(match) {
  if (match.place !== undefined) return match.place;
  if (match.frames !== undefined) return `frame ${match.frame}`;
  return `${match.metres < 10 ? match.metres.toFixed(1) : Math.round(match.metres)} m away`;
}

function matches(node, found, pictures) {
  one("h3", node).hidden = found.matches.length === 0;
  found.matches.forEach((match, number) => {
    const item = document.createElement("li");
    item.title = match.photo;
    if (pictures[number]) {
      const picture = document.createElement("img");
      picture.alt = `match ${number + 1}`;
      picture.addEventListener("error", () => { picture.hidden = true; });
      picture.src = pictures[number];
      item.append(picture);
    }
    line(item, away(match));
    line(item, `similarity ${match.s_struct.toFixed(2)}`);
    one(".matches", node).append(item);
  });
}

function show(node, found, pictures) {
  node.className = found.on_map ? "on" : "off";
  one(".state", node).textContent = found.on_map ? "Found" : "Not on this map";
  place(node, found);
  confidence(node, found);
  matches(node, found, pictures);
}

async function ask(file, node) {
  if (file.size > Number(limits.mostBytes)) {
    return fail(node, `The photo is larger than ${limits.mostMb} MB. Send a smaller copy.`);
  }
  one(".state", node).textContent = "Locating …";
  const form = new FormData();
  form.append(limits.field, file, file.name);
  let answer;
  try {
    answer = await fetch("locate", { method: "POST", body: form });
  } catch {
    return fail(node, "The service does not answer. Is it still running?");
  }
  let content = {};
  try {
    content = await answer.json();
  } catch {
    return fail(node, `The answer of the service cannot be read (status ${answer.status}).`);
  }
  if (!answer.ok) {
    const reason = String(content.error || `the service answered with status ${answer.status}`);
    return fail(node, `${reason.charAt(0).toUpperCase()}${reason.slice(1)}.`);
  }
  show(node, content, (answer.headers.get("Vpr-Photos") || "").split(" "));
}

async function work() {
  if (working) return;
  working = true;
  for (let total = 0; waiting.length; total += 1) {
    one("#status").textContent = `${waiting.length} ${waiting.length === 1 ? "photo" : "photos"} to go …`;
    const [file, node] = waiting.shift();
    await ask(file, node);
    node.classList.remove("waiting");
  }
  one("#status").textContent = "";
  working = false;
}

function take(files) {
  for (const file of files) waiting.push([file, card(file)]);
  work();
}

one("#choose").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    one("#drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) one("#drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  one("#drop").classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
