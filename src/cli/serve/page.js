"use strict";

const part = (id) => document.getElementById(id);
/** Pixels of a picture's longer side at least. */
const SHARP = 600;
/** The latest photo; answers to earlier ones come too late. */
let latest = 0;

function say(text, bad = false) {
  part("status").textContent = text;
  part("status").classList.toggle("bad", bad);
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Photo and boxes; a format that the browser cannot show leaves the boxes out. */
async function draw(file, faces, mine) {
  const canvas = part("photo");
  let photo;
  try {
    photo = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    if (mine === latest) canvas.hidden = true;
    return;
  }
  // Another one may have been chosen meanwhile.
  if (mine !== latest) return;
  canvas.hidden = false;
  const size = Math.max(photo.width, photo.height);
  // Small faces are enlarged, so that labels are sharp.
  const scale = Math.max(1, Math.ceil(SHARP / size));
  canvas.width = photo.width * scale;
  canvas.height = photo.height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.drawImage(photo, 0, 0);
  pen.lineWidth = size / 150;
  const height = size / 25;
  pen.font = `600 ${height}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  faces.forEach((face, i) => {
    const [x, y, w, h] = face.box;
    pen.strokeStyle = "#ffd400";
    pen.strokeRect(x, y, w, h);
    const text = ` ${i + 1} ${face.label} `;
    pen.fillStyle = "#000c";
    pen.fillRect(x, y, pen.measureText(text).width, 1.2 * height);
    pen.fillStyle = "#ffd400";
    pen.fillText(text, x, y);
  });
  photo.close();
}

/** Label and probabilities of a face, the largest first, and its heat maps. */
function item(face) {
  const li = element("li");
  li.append(element("h2", face.label));
  const list = element("dl");
  const ranked = Object.entries(face.probabilities).sort((a, b) => b[1] - a[1]);
  for (const [label, p] of ranked) {
    const bar = element("progress");
    bar.value = p;
    bar.setAttribute("aria-hidden", "true");
    const barCell = element("dd");
    barCell.append(bar);
    list.append(element("dt", label), barCell, element("dd", `${(100 * p).toFixed(1)} %`, "number"));
  }
  li.append(list);
  if (face.explanation) {
    const maps = element("img");
    maps.src = face.explanation;
    maps.alt = `The face as the network sees it, and under heat what spoke for ${face.label}`;
    li.append(maps, element("p", "What the network sees, and what weighed for its answer", "small"));
  }
  return li;
}

async function predict(file) {
  const mine = ++latest;
  say("Looking at the photo …");
  part("answer").hidden = true;
  let answer, result;
  try {
    answer = await fetch("predict?explain", { method: "POST", body: file });
    result = await answer.json();
  } catch {
    if (mine === latest) say("The service cannot be reached, or the photo is far too large.", true);
    return;
  }
  if (mine !== latest) return;
  if (!answer.ok) {
    say(`${result.error} (status ${answer.status})`, true);
    return;
  }
  await draw(file, result.faces, mine);
  if (mine !== latest) return;
  part("faces").replaceChildren(...result.faces.map(item));
  part("answer").hidden = false;
  const labels = result.faces.map((face) => face.label).join(", ");
  const note = result.note ? ` (${result.note})` : "";
  say((labels ? `Found: ${labels}` : "No face was found.") + note);
}

function take(files) {
  const file = [...files].find((f) => f.size > 0);
  if (file) predict(file);
}

part("file").addEventListener("change", (event) => {
  take(event.target.files);
  // So that the same photo can be chosen again.
  event.target.value = "";
});
part("form").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("paste", (event) => take(event.clipboardData.files));
// Beside the target, too: a browser would leave the page for the photo.
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    part("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });
}
