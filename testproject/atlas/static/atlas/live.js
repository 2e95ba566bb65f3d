// Brings the regions marked with data-live up to date once a second. The page works without it.
"use strict";

const url = document.currentScript.dataset.url;
const regions = document.querySelectorAll("[data-live]");
const lost = document.getElementById("lost");
const shown = {};
let pause = 1000; // milliseconds

async function refresh() {
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(response.status);
    show(await response.json());
    lost.hidden = true;
    pause = 1000;
  } catch {
    lost.hidden = false;
    pause = Math.min(pause * 2, 30000);
  }
}

function show(parts) {
  for (const region of regions) {
    const html = parts[region.dataset.live];
    if (html === shown[region.dataset.live] || region.contains(document.activeElement)) continue;
    region.innerHTML = html;
    shown[region.dataset.live] = html;
  }
}

async function loop() {
  if (!document.hidden) await refresh();
  setTimeout(loop, pause);
}

loop();
