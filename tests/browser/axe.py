"""Asks axe-core what keeps people from using a page: the rules of WCAG 2.2, levels A and AA, and of good order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]
BESIDES = ["heading-order", "page-has-heading-one", "empty-heading", "empty-table-header", "region", "tabindex"]
RUN = """async ([tags, besides]) => {
    const way = node => node ? `${way(node.parentElement)} ${node.localName}` : "";
    const found = await axe.run(document, {
        runOnly: {type: "tag", values: tags},
        rules: Object.fromEntries(besides.map(rule => [rule, {enabled: true}])),
        resultTypes: ["violations"],
        preload: false,  // it would write styles of its own, which the page's policy forbids
    });
    return found.violations.flatMap(rule => rule.nodes.map(one => {
        const node = document.querySelector(one.target[0]);
        const kind = node.closest("body [class^=dj-], body [class*=' dj-']") ? " ours" : "";
        const details = `${one.failureSummary}\\n    ${one.html.slice(0, 200)}`;
        return {rule: rule.id, shape: way(node) + kind, details};
    }));
}"""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One element that breaks one rule. Its shape is where it stands: the names of the elements that lead to it."""

    rule: str
    shape: str
    details: str

    def __str__(self) -> str:
        return f"{self.rule} at{self.shape}: {self.details}"


def violations(page) -> list[Violation]:
    """Return what axe finds wrong with a page as it is shown."""
    page.evaluate(_source())
    return [Violation(**one) for one in page.evaluate(RUN, [TAGS, BESIDES])]


@cache
def _source() -> str:
    """Return the script, out of a wheel that brings it along; what follows keeps Playwright from passing it back."""
    return Path(find_spec("axe_playwright_python").origin).with_name("axe.min.js").read_text() + "\n;null"
