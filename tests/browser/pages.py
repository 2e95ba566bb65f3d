"""The table of pages: each of ours is tested in every look, and its pictures are what the docs show.

Whoever adds a page adds a line. A path may name rows of the demo's data: see ``demo.fill``.
"""

from __future__ import annotations

from dataclasses import dataclass

ADMIN = "/admin/django_jobs"

# Pages of Django's own that ours are measured by: what is wrong on those is none of our doing.
STOCK = ("/admin/", "/admin/auth/user/?q=ada", "/admin/auth/user/{user}/change/", "/admin/auth/group/{group}/change/")


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page: the name of its pictures, and its path."""

    name: str
    path: str
    is_admin: bool = True
    is_ours: bool = True  # as a whole
    height: int = 1800  # pixels that the picture shows at most


PAGES = [
    Page(name="overview", path=f"{ADMIN}/overview/"),
    Page(name="jobs", path=f"{ADMIN}/job/", height=1100),
    Page(name="jobs-failed", path=f"{ADMIN}/job/?state=failed", height=1100),
    Page(name="job", path=f"{ADMIN}/job/{{job}}/change/"),
    Page(name="job-running", path=f"{ADMIN}/job/{{running_job}}/change/"),
    Page(name="job-arguments", path=f"{ADMIN}/job/{{job}}/arguments/"),
    Page(name="run-choose", path=f"{ADMIN}/job/add/?q=store"),
    Page(name="run", path=f"{ADMIN}/job/add/?task=store.tasks.charge_card"),
    Page(name="object", path="/admin/tests_app/effect/{order}/change/", is_ours=False),
    Page(name="schedules", path=f"{ADMIN}/schedule/"),
    Page(name="schedule", path=f"{ADMIN}/schedule/{{schedule}}/change/"),
    Page(name="schedule-add", path=f"{ADMIN}/schedule/add/"),
    Page(name="schedule-day", path=f"{ADMIN}/schedule/day/"),
    Page(name="queues", path=f"{ADMIN}/queue/"),
    Page(name="queue", path=f"{ADMIN}/queue/{{queue}}/change/"),
    Page(name="workers", path=f"{ADMIN}/worker/"),
    Page(name="worker", path=f"{ADMIN}/worker/{{worker}}/change/"),
    Page(name="progress", path="/page/{running_job}/?options=cancel=True", is_admin=False),
]

# How each is looked at: what Playwright is told, by the ending of the picture's name.
LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
