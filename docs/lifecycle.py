"""Sphinx directives that draw and list a job's transitions, out of the table in ``django_jobs.states``."""

from __future__ import annotations

from docutils import nodes
from docutils.parsers.rst import Directive
from drawing import as_svg, as_text
from sphinx.addnodes import only

from django_jobs.states import TRANSITIONS


class Lifecycle(Directive):
    """A drawing: a line down for each state, an arrow across for each transition."""

    def run(self) -> list[nodes.Node]:
        text = nodes.literal_block("", as_text())
        return [nodes.raw("", as_svg(), format="html"), only_where_there_is_no_html(text)]


class Transitions(Directive):
    """The same as a table."""

    def run(self) -> list[nodes.Node]:
        rows = [
            (one.name, ", ".join(one.sources), one.target, "yes" if one.fenced else "", one.why) for one in TRANSITIONS
        ]
        return [table(("transition", "from", "to", "only by the claim's holder", "why"), rows)]


def only_where_there_is_no_html(node: nodes.Node) -> nodes.Node:
    wrapper = only(expr="not html")
    wrapper += node
    return wrapper


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> nodes.table:
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=max(len(row[n]) for row in (head, *rows))) for n in range(len(head))]
    group += nodes.thead("", line(head))
    group += nodes.tbody("", *map(line, rows))
    return nodes.table("", group)


def line(cells: tuple[str, ...]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=cell)) for cell in cells))


def setup(app) -> dict:
    app.add_directive("lifecycle", Lifecycle)
    app.add_directive("transitions", Transitions)
    return {"parallel_read_safe": True}
