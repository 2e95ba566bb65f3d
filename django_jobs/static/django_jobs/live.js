/* Keeps a page up to date: asks for the same page again, or for the address in data-dj-live-from, and swaps
   what is marked with data-dj-region.

   A region that one works in (it holds the focus, an open form or selected text) is left alone. Nothing is
   asked while the page is hidden; after an error the pauses grow, and the page says so. */
"use strict";

(() => {
    const LONGEST = 60; // seconds between tries

    function start(root) {
        const every = Number(root.dataset.djLive);
        const status = root.querySelector("[data-dj-live-status]");
        let pause = every;
        let timer = null;

        const regions = (page) => page.querySelectorAll("[data-dj-region]");

        const isInUse = (region) => {
            const selection = document.getSelection();
            return region.contains(document.activeElement)
                || region.querySelector("details[open]") !== null
                || (!selection.isCollapsed && selection.containsNode(region, true));
        };

        function swap(page) {
            for (const region of regions(root)) {
                const fresh = page.querySelector(`[data-dj-region="${region.dataset.djRegion}"]`);
                if (fresh && !isInUse(region)) {
                    const shown = document.importNode(fresh, true);
                    const scrolled = region.scrollTop;
                    region.replaceWith(shown);
                    shown.scrollTop = scrolled;
                }
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
                    status.textContent = root.dataset.djOver;
                    return;
                }
                swap(page);
                status.textContent = "";
                pause = every;
            } catch {
                pause = Math.min(2 * pause, LONGEST);
                status.textContent = root.dataset.djAway.replace("%s", pause);
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
