/* Keeps a page up to date: asks for the same page again, or for the address in data-dj-live-from, and swaps what is
   marked with data-dj-region, and the element that data-dj-swap selects; all inside the element with data-dj-live, or
   in the one that its data-dj-within selects.

   A region that one works in (it holds the focus, an open form, a checked box or selected text) is left alone, and
   a list also while one points at it. Nothing is asked while the page is hidden, nor once the page says that
   nothing more will change; after an error the pauses grow, and the page says so. */
"use strict";

(() => {
    const LONGEST = 60; // seconds between tries
    const BOX = "input.action-select";
    const TOKEN = /name="csrfmiddlewaretoken" value="\w*"/g; // another one in each answer, and as good as the last
    const look = (region) => region.innerHTML.replace(TOKEN, "");

    /* Shows fresh rows in a list of Django's admin, whose scripts know its checkboxes: they stay where they are. */
    function takeRows(list, fresh) {
        if (list.rows.length === fresh.rows.length) {
            Array.from(fresh.rows).forEach((row, place) => takeRow(list.rows[place], row));
            return;
        }
        const shown = document.importNode(fresh, true);
        list.replaceWith(shown);
        const toggle = document.getElementById("action-toggle");
        if (window.Actions && toggle) {
            toggle.replaceWith(toggle.cloneNode()); // without those who listen for the boxes of before
            window.Actions(shown.querySelectorAll(BOX));
        }
    }

    function takeRow(row, fresh) {
        if (row.innerHTML === fresh.innerHTML) {
            return;
        }
        const shown = document.importNode(fresh, true);
        const [box, freshBox] = [row.querySelector(BOX), shown.querySelector(BOX)];
        if (box && freshBox) {
            Array.from(freshBox.attributes).forEach((one) => box.setAttribute(one.name, one.value));
            freshBox.replaceWith(box);
        }
        row.replaceChildren(...shown.children);
    }

    /* Shows of how many rows none is selected. */
    function takeCounter(page) {
        const [counter, fresh] = [document, page].map((one) => one.querySelector("span.action-counter"));
        if (counter && fresh) {
            counter.dataset.actionsIcnt = fresh.dataset.actionsIcnt;
            counter.textContent = fresh.textContent;
        }
    }

    function start(live) {
        const every = Number(live.dataset.djLive);
        const status = live.querySelector("[data-dj-live-status]");
        const root = live.dataset.djWithin ? document.querySelector(live.dataset.djWithin) : live;
        let pause = every;
        let timer = null;
        if (!every) {
            return;
        }

        const regions = (page) => page.querySelectorAll("[data-dj-region]");

        const isInUse = (region) => {
            const selection = document.getSelection();
            return region.contains(document.activeElement)
                || region.querySelector("details[open]:not([data-dj-open]), input:checked") !== null
                || (!selection.isCollapsed && selection.containsNode(region, true));
        };

        function swap(page) {
            for (const region of regions(root)) {
                const fresh = page.querySelector(`[data-dj-region="${region.dataset.djRegion}"]`);
                if (fresh && !isInUse(region)) {
                    replace(region, fresh);
                }
            }
            if (live.dataset.djSwap) {
                swapList(page);
            }
        }

        function replace(region, fresh) {
            if (look(region) === look(fresh)) {
                return;
            }
            const shown = document.importNode(fresh, true);
            const scrolled = region.scrollTop;
            region.replaceWith(shown);
            shown.scrollTop = scrolled;
        }

        function swapList(page) {
            const list = root.querySelector(live.dataset.djSwap);
            const fresh = page.querySelector(live.dataset.djSwap);
            const isIdle = document.activeElement === document.body;
            if (!list !== !fresh) { // the first row, or none is left: other parts of the page come or go with it
                if (isIdle && !(list && isInUse(list))) {
                    window.location.reload();
                }
            } else if (list && !isInUse(list) && !list.matches(":hover")) {
                takeRows(list, fresh);
                takeCounter(page);
            }
        }

        async function refresh() {
            let answer;
            try {
                answer = await fetch(root.dataset.djLiveFrom || window.location.href, {
                    headers: {"X-Dj-Live": "1"},
                    signal: AbortSignal.timeout(10000),
                });
                if (!answer.ok) {
                    throw new Error(answer.status);
                }
                const page = new DOMParser().parseFromString(await answer.text(), "text/html");
                if (!page.querySelector("[data-dj-live]")) { // the login page
                    status.textContent = live.dataset.djOver;
                    return;
                }
                swap(page);
                status.textContent = "";
                pause = every;
                if (!Number(page.querySelector("[data-dj-live]").dataset.djLive)) {
                    return;
                }
            } catch {
                pause = Math.min(2 * pause, LONGEST);
                status.textContent = live.dataset.djAway.replace("%s", pause);
            }
            wait();
        }

        function wait() {
            clearTimeout(timer);
            if (!document.hidden) {
                timer = setTimeout(refresh, 1000 * pause);
            }
        }

        document.addEventListener("visibilitychange", () => {
            clearTimeout(timer);
            if (!document.hidden) {
                refresh();
            }
        });
        wait();
    }

    function startAll() {
        document.querySelectorAll("[data-dj-live]").forEach(start);
    }

    if (document.readyState === "loading") {
        document.addEventListener("DOMContentLoaded", startAll);
    } else {
        startAll();
    }
})();
