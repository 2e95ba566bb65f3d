// <job-progress>: keeps what {% job_progress %} has drawn up to date. Without JavaScript it shows the state at load.
//
// Fires "job-progress" with each change and "job-finished" once at the end; both bubble, and their detail is what the
// server said: {state, finished, done, total, percent, text, may_cancel}. A redirection that is asked for does not take
// place when a listener prevents the default of "job-finished".

const PAUSE = 1000; // milliseconds between questions
const LONGEST_PAUSE = 30000; // ... while the server does not answer
const ANNOUNCED = 25; // percent between what screen readers are told

class JobProgress extends HTMLElement {
  connectedCallback() {
    this.bar = this.querySelector("progress");
    this.line = this.querySelector(".dj-job-text");
    this.form = this.querySelector("form");
    this.form?.addEventListener("submit", (event) => this.cancel(event));
    this.voice ??= this.appendChild(newVoice());
    this.pause = PAUSE;
    this.seen = () => (document.hidden ? this.stop() : this.follow());
    document.addEventListener("visibilitychange", this.seen);
    this.follow();
  }

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.seen);
    this.stop();
  }

  stop() {
    this.turn = {}; // whoever asks now is the last
    clearTimeout(this.timer);
    this.stream?.close();
    this.stream = null;
  }

  // Asking

  follow() {
    this.stop();
    if (this.ended || !this.isConnected) return;
    if (this.dataset.events && !this.streamless) this.listen();
    else this.ask(this.turn);
  }

  listen() {
    this.stream = new EventSource(this.dataset.events);
    this.stream.onmessage = (event) => this.show(JSON.parse(event.data));
    this.stream.onerror = () => {
      if (this.stream?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      this.streamless = true;
      this.follow();
    };
  }

  async ask(turn) {
    try {
      const response = await fetch(this.dataset.url, { headers: { Accept: "application/json" } });
      if (response.status === 404) return; // too old, or deleted: what is shown stays
      if (!response.ok) throw new Error(response.status);
      const job = await response.json();
      if (turn !== this.turn) return; // what was asked since then is newer
      this.show(job);
      this.pause = PAUSE;
    } catch {
      this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
    }
    if (turn === this.turn) this.timer = setTimeout(() => this.ask(turn), this.pause);
  }

  // Showing

  show(job) {
    const before = this.shown;
    this.shown = job;
    if (JSON.stringify(before) === JSON.stringify(job)) return;
    if (job.percent === null) this.bar.removeAttribute("value");
    else this.bar.value = job.percent;
    this.line.textContent = job.text;
    this.dataset.state = job.state;
    if (this.form) this.form.hidden = !job.may_cancel;
    this.announce(job);
    this.tell("job-progress", job);
    if (job.finished) this.finish(job);
  }

  announce(job) {
    const step = job.percent === null ? "" : Math.floor(job.percent / ANNOUNCED);
    const news = `${job.state} ${step}`;
    if (news !== this.announced) this.voice.textContent = job.text;
    this.announced = news;
  }

  finish(job) {
    this.ended = true;
    this.stop();
    const goes = this.tell("job-finished", job);
    const target = this.dataset.redirect && new URL(this.dataset.redirect, location.href).href;
    if (goes && target && job.state === "succeeded" && target !== location.href) location.assign(target);
  }

  tell(name, detail) {
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, cancelable: true }));
  }

  // Cancelling

  async cancel(event) {
    event.preventDefault();
    const button = this.form.querySelector("button");
    button.disabled = true;
    try {
      const body = new URLSearchParams(new FormData(this.form));
      const response = await fetch(this.form.action, { method: "POST", body, headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(response.status);
      const job = await response.json();
      this.stop(); // an older answer may be on its way
      this.show(job);
      this.follow();
    } catch {
      button.disabled = false; // to be pressed again
    }
  }
}

function newVoice() {
  const voice = document.createElement("span");
  voice.setAttribute("role", "status");
  voice.setAttribute("aria-live", "polite");
  // Heard, not seen. Set by script and not by attribute: a Content Security Policy may forbid those.
  Object.assign(voice.style, { position: "absolute", width: "1px", height: "1px", overflow: "hidden" });
  voice.style.clipPath = "inset(50%)";
  voice.style.whiteSpace = "nowrap";
  return voice;
}

customElements.get("job-progress") ?? customElements.define("job-progress", JobProgress);
