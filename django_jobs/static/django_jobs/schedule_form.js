/* The form of a schedule: shows only the fields that count, and what they come to while one types.
   Without this script all fields are shown, and the button "Preview" does the same. */
"use strict";

(() => {
    const FIELDS = {
        every: ["every"], daily: ["at"], weekly: ["at", "weekdays"], monthly: ["at", "monthdays"],
        cron: ["cron"], once: ["once_at"],
    };
    const PAUSE = 300; // ms without a key, before the server is asked

    const start = () => {
        const editor = document.querySelector(".dj-editor-live");
        if (!editor) return;
        const form = editor.closest("form");
        let timer, asked;

        // Themes that draw rows of their own call them a group.
        const row = (name) => form.querySelector(`.form-row.field-${name}`)
            ?? form.querySelector(`[name="${name}"], [name^="${name}_"]`)?.closest(".group");
        const show = (name, visible) => row(name)?.classList.toggle("dj-hidden", !visible);
        const value = (name) => new FormData(form).get(name);

        const arrange = () => {
            const kind = value("when");
            for (const name of new Set(Object.values(FIELDS).flat())) show(name, FIELDS[kind]?.includes(name));
            show("timezone", kind !== "every" && kind !== "once");
            show("catch_up", value("after_downtime") === "all");
            const json = value("arguments_as") === "json";
            show("args", json);
            show("kwargs", json);
            document.getElementById("dj-arguments").classList.toggle("dj-hidden", json);
        };

        const put = (id, page) => document.getElementById(id).replaceWith(page.getElementById(id));

        const ask = async () => {
            asked?.abort();
            asked = new AbortController();
            const body = new FormData(form);
            body.set("_preview", "1");
            try {
                const answer = await fetch(window.location.href, {
                    method: "POST", body, signal: asked.signal, headers: { "X-Requested-With": "django_jobs" },
                });
                if (!answer.ok) throw new Error(`status ${answer.status}`);
                const page = new DOMParser().parseFromString(await answer.text(), "text/html");
                if (!page.getElementById("dj-preview")) throw new Error("no preview");
                const task = (node) => node.getElementById("dj-arguments").dataset.task;
                if (task(page) !== task(document)) put("dj-arguments", page); // else leave what is being typed
                put("dj-preview", page);
                arrange();
            } catch (error) {
                if (error.name !== "AbortError") editor.classList.add("dj-stale"); // the button is still there
                return;
            }
            editor.classList.remove("dj-stale");
        };

        const changed = () => {
            arrange();
            clearTimeout(timer);
            timer = setTimeout(ask, PAUSE);
        };

        form.addEventListener("input", changed);
        form.addEventListener("change", changed);
        // The admin's calendars and clocks fill in without an event.
        form.addEventListener("click", (event) => event.target.closest(".datetime, .calendarbox, .clockbox") && changed());
        editor.classList.add("dj-scripted");
        arrange();
        if (document.querySelector(".errornote")) ask();
    };

    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
})();
