/* A button that copies the text of another element; without this script one selects it by hand. */
"use strict";

(() => {
    async function copy(text) {
        try {
            await navigator.clipboard.writeText(text.textContent);
        } catch { // not allowed, or a page without https
            const range = document.createRange();
            range.selectNodeContents(text);
            document.getSelection().removeAllRanges();
            document.getSelection().addRange(range);
            document.execCommand("copy");
        }
    }

    function start(button) {
        const label = button.textContent;
        button.hidden = false;
        button.addEventListener("click", async () => {
            await copy(document.getElementById(button.dataset.djCopy));
            button.textContent = button.dataset.djCopied;
            setTimeout(() => { button.textContent = label; }, 2000);
        });
    }

    function startAll() {
        document.querySelectorAll("[data-dj-copy]").forEach(start);
    }

    if (document.readyState === "loading") {
        document.addEventListener("DOMContentLoaded", startAll);
    } else {
        startAll();
    }
})();
