#!/usr/bin/env node
/* Uses the page of `moue serve` in a browser as a person would: with a chosen, a dropped and a broken file, on a keyboard,
 * on a narrow screen, with several photos one after the other.
 *
 *     cargo build --release; apt-get install chromium; npm install --no-save playwright-core
 *     node tests/interop/check_page.mjs WEIGHTS IMAGE [SCREENSHOT.png]
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// From the folder that this is run in.
const { chromium } = createRequire(join(process.cwd(), "any"))("playwright-core");

const [weights, image, screenshot] = process.argv.slice(2);
const moue = process.env.MOUE ?? "target/release/moue";
const folder = mkdtempSync(join(tmpdir(), "moue-page-"));
const server = spawn(moue, ["serve", "--weights", weights, "--port", "0", "--json", "--quiet", "--max-mb", "2"]);
const [line] = await Promise.race([once(createInterface(server.stdout), "line"), once(server, "exit")]);
const { address } = JSON.parse(line);

function once(from, event) {
  return new Promise((resolve) => from.once(event, (...args) => resolve(args)));
}

const context = await chromium.launchPersistentContext(join(folder, "profile"), {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
try {
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("request", (request) => {
    if (!request.url().startsWith(address) && !request.url().startsWith("data:")) complaints.push(request.url());
  });
  const status = page.locator("#status");
  const found = () => page.waitForFunction(() => document.getElementById("status").textContent.startsWith("Found"));

  // A chosen photo: what the page shows is what the service says.
  await page.goto(address);
  const told = await (await fetch(`${address}predict`, { method: "POST", body: readFileSync(image) })).json();
  await page.setInputFiles("#file", image);
  await found();
  assert.equal(await status.textContent(), `Found: ${told.faces.map((f) => f.label).join(", ")}`);
  assert.equal(await page.locator("#faces li").count(), told.faces.length);
  const shown = await page.locator("#faces li").first().locator("dd.number").allTextContents();
  const ranked = Object.values(told.faces[0].probabilities).sort((a, b) => b - a);
  assert.deepEqual(shown, ranked.map((p) => `${(100 * p).toFixed(1)} %`));
  // Heat maps over the face: loaded, and not grey alone.
  const maps = page.locator("#faces li").first().locator("img");
  assert.match(await maps.getAttribute("alt"), /spoke for/);
  const coloured = await maps.evaluate(async (img) => {
    await img.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
    const pen = canvas.getContext("2d");
    pen.drawImage(img, 0, 0);
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    let red = 0;
    for (let i = 0; i < data.length; i += 4) red += data[i] > data[i + 2] + 60;
    return red;
  });
  assert.ok(coloured > 500, `${coloured} coloured pixels`);
  const drawn = await page.evaluate(() => {
    const { width, height } = document.getElementById("photo");
    const pixels = document.getElementById("photo").getContext("2d").getImageData(0, 0, width, height).data;
    let yellow = 0;
    for (let i = 0; i < pixels.length; i += 4) yellow += pixels[i] > 200 && pixels[i + 1] > 160 && pixels[i + 2] < 80;
    return { width, height, yellow };
  });
  assert.ok(drawn.width > 0 && drawn.yellow > 20, `a box is drawn: ${JSON.stringify(drawn)}`);
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });

  // A broken file is told, and the last result is gone.
  const broken = join(folder, "broken.png");
  writeFileSync(broken, readFileSync(image).subarray(0, 200));
  await page.setInputFiles("#file", broken);
  await page.waitForFunction(() => document.getElementById("status").classList.contains("bad"));
  assert.match(await status.textContent(), /status 422/);
  assert.ok(await page.locator("#answer").isHidden());
  // So is one that is too large.
  const large = join(folder, "large.png");
  writeFileSync(large, Buffer.alloc(5_000_000));
  await page.setInputFiles("#file", large);
  await page.waitForFunction(() => document.getElementById("status").textContent.includes("413"));

  // A dropped photo.
  const bytes = [...readFileSync(image)];
  const transfer = await page.evaluateHandle((bytes) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "photo"));
    return data;
  }, bytes);
  await page.dispatchEvent("#drop", "dragover", { dataTransfer: transfer });
  assert.ok(await page.locator("#drop.over").count());
  await page.dispatchEvent("#drop", "drop", { dataTransfer: transfer });
  await found();
  assert.equal(await page.locator("#drop.over").count(), 0);

  // Several at once: the last one counts, and its answer is shown once.
  for (let i = 0; i < 5; i++) await page.setInputFiles("#file", i < 4 ? broken : image);
  await found();
  assert.equal(await page.locator("#faces li").count(), told.faces.length);

  // The keyboard reaches the file chooser; everything has a name; nothing is wider than a small screen.
  await page.reload();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "file");
  assert.equal(await page.getAttribute("html", "lang"), "en");
  assert.equal(await page.getByLabel("Drop a photo here").count(), 1);
  assert.equal(await status.getAttribute("aria-live"), "polite");
  await page.setViewportSize({ width: 320, height: 640 });
  await page.setInputFiles("#file", image);
  await found();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 320), "no sideways scrolling");

  // What the browser itself says of refused answers is no fault of the page.
  const faults = complaints.filter((text) => !/status of (413|422)/.test(text));
  assert.deepEqual(faults, []);
  console.log(`${await context.browser()?.version() ?? "chromium"}: the page works`);
} finally {
  await context.close();
  server.kill("SIGTERM");
  const [code] = await once(server, "exit");
  rmSync(folder, { recursive: true });
  assert.equal(code, 0);
}
