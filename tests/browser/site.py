"""The suite's own site as a real browser sees it, with all that the browser complains of."""

from __future__ import annotations

import shutil

from django.conf import settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Tells of what the page's policy forbids, wherever it happens.
WATCH = """document.addEventListener("securitypolicyviolation", event => window.complain(
    `${event.violatedDirective} forbids ${event.blockedURI || event.sample} at ${event.sourceFile}:${event.lineNumber}`
))"""


class Site:
    """Opens pages of a server, and remembers what the browser complained of.

    All pages are served under a strict Content Security Policy, see tests/served.py. A complaint is an error in the
    console or in a script, something that the policy forbids, or a request to another host.
    """

    def __init__(self, browser, url: str, session: str):
        self._browser = browser
        self._session = session
        self.url = url
        self.complaints: list[str] = []
        self.tolerated: list[str] = []  # parts of complaints that a test provokes

    def page(self, path: str, *, visitor: bool = False, **options):
        """Open a page as a superuser, or as a visitor who is not logged in."""
        context = self._browser.new_context(
            base_url=self.url, **({"viewport": {"width": 1280, "height": 900}} | options)
        )
        if not visitor:
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": self._session, "url": self.url}])
        if options.get("java_script_enabled", True):
            context.expose_function("complain", self._complain)
            context.add_init_script(WATCH)
        context.on("request", self._look_where_it_goes)
        context.on("console", self._listen)
        page = context.new_page()
        page.on("pageerror", lambda error: self._complain(str(error)))
        page.goto(path)
        return page

    def close(self) -> None:
        for context in self._browser.contexts:
            context.close()

    def _complain(self, what: str) -> None:
        if not any(part in what for part in self.tolerated):
            self.complaints.append(what)

    def _look_where_it_goes(self, request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", "blob:")):
            self._complain(f"a request to another host: {request.url}")

    def _listen(self, message) -> None:
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            self._complain(f"{message.text} ({message.location['url']})")
