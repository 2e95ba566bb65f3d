"""The list of jobs: pages by key, tabs with counts that are bounded, and the button that retries all that failed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import states
from ..models import Job, database
from ..models.job import STATE_LABELS
from ..selection import NEWEST_ATTEMPTS, Selection, in_state
from .counts import CAP, capped_counts, in_words
from .job_filters import MORE, is_selection, selection_of
from .job_search import NotUnderstood
from .light import light, with_arguments
from .paging import WINDOW, Place, Way, newest_in_state, page_of

PLACES = ("before", "after")  # parameters that say where one is in the list


@dataclass(frozen=True, kw_only=True)
class Tab:
    """One way to look at the list."""

    label: Any
    count: str
    link: str
    is_current: bool


class JobList(ChangeList):
    """The list without the big columns, by the key of its first or last job instead of by the number of its page."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> models.QuerySet:
        for name in PLACES:  # they are no filters
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        self.selection, self.problem = Selection(), ""
        try:
            self.selection = selection_of(self.params)
        except NotUnderstood as error:
            self.problem = str(error)
        asked, self.query = self.query, ""  # the search is a part of the selection
        jobs = super().get_queryset(request, exclude_parameters)
        self.query = asked
        return jobs.none() if self.problem else self.selection.narrow(jobs)

    def get_results(self, request: HttpRequest) -> None:
        place = Place.of(*(request.GET.get(name) for name in PLACES))
        self.page = page_of(light(Job.objects.all()), self.queryset, place, self.list_per_page, self._way)
        self.result_list = with_arguments(self.page.rows)
        self.result_count = max(self._count("listed", self._state), len(self.page.rows))
        self.paginator = Paginator(self.page.rows, self.list_per_page)
        self.multi_page = bool(self.page.newer or self.page.older)
        self.show_full_result_count = self.can_show_all = False
        self.full_result_count = None
        self.show_admin_actions = True

    # Counts: two queries, each of them bounded

    @cached_property
    def _by_state(self) -> dict[str | None, int]:
        """The number of jobs in each state, whatever else is looked for."""
        jobs = Job.objects.using(database())
        everything = {None: jobs} | {state: jobs.filter(in_state(state)) for state in states.STATES}
        recent = {MORE: Selection(tried_again=True).narrow(jobs)}
        return capped_counts(everything | recent)

    @cached_property
    def _of_selection(self) -> dict[str, int]:
        if not self._is_narrowed or self.is_uncounted:
            return {}
        jobs = Job.objects.using(database())
        return capped_counts({"listed": self.queryset, "failed": self.selection.failed().narrow(jobs)})

    def _count(self, name: str, state: str | None) -> int:
        """Return how many jobs are meant; CAP, where nobody knows without reading too many of them."""
        if not self._is_narrowed:
            return self._by_state[MORE if self.selection.tried_again else state]
        return self._of_selection.get(name, CAP)

    @property
    def _state(self) -> str | None:
        return self.params.get("state") if self.params.get("state") in states.STATES else None

    @property
    def _is_narrowed(self) -> bool:
        """Whether there is more than one tab's worth of conditions."""
        return bool(self.query or set(self.params) - {"state", "tries"} or {"state", "tries"} <= set(self.params))

    @property
    def _way(self) -> Way:
        said = self.selection
        if said.is_recent or said.labels or self._is_by_queue or any(map(self._is_rare, said.states)):
            return Way(is_short=True)
        if not said.states:
            return Way(is_bounded=self.is_uncounted)
        return Way(is_bounded=not (said.fingerprints or said.ids), jump=partial(newest_in_state, said.states[0]))

    @property
    def _is_by_queue(self) -> bool:
        return states.QUEUED in self.selection.states and bool(self.selection.queues) and not self.selection.tasks

    @cached_property
    def is_uncounted(self) -> bool:
        """Whether so many jobs would have to be read to count those that are meant that nobody does."""
        said = self.selection
        return said.has_no_index and not self._is_by_queue and not any(map(self._is_rare, said.states or (None,)))

    def _is_rare(self, state: str | None) -> bool:
        return self._by_state.get(state, 0) < CAP

    # What the template shows

    @cached_property
    def tabs(self) -> list[Tab]:
        """The states, with counts where no other filter is on."""
        is_plain = not self._is_narrowed
        current = MORE if self.params.get("tries") == MORE else self.params.get("state")
        kinds = [(None, _("all")), *STATE_LABELS, (MORE, _("more than one attempt"))]
        return [
            Tab(
                label=label,
                count=in_words(self._by_state[kind]) if is_plain else "",
                link=self.get_query_string(_params_of(kind), ["state", "tries", "error"]),
                is_current=kind == current,
            )
            for kind, label in kinds
        ]

    @property
    def newer_link(self) -> str:
        return self.get_query_string({"after": self.page.newer}) if self.page.newer else ""

    @property
    def older_link(self) -> str:
        return self.get_query_string({"before": self.page.older}) if self.page.older else ""

    @property
    def top_link(self) -> str:
        return self.get_query_string()

    @property
    def counted(self) -> str:
        """How many jobs the list has, in words."""
        if self.is_uncounted or not self.result_list:
            return ""
        text = ngettext("%(count)s job", "%(count)s jobs", self.result_count)
        return text % {"count": in_words(self.result_count)}

    @property
    def remark(self) -> str:
        """What the list leaves out to be quick."""
        if self.page.is_cut:
            return gettext("A page looks through %(count)s jobs.") % {"count": f"{WINDOW:,}"}
        if self.selection.is_recent:
            text = gettext("Among the newest %(count)s attempts that did not succeed.")
            return text % {"count": f"{NEWEST_ATTEMPTS:,}"}
        return ""

    @property
    def retry_label(self) -> str:
        """What the button says that retries the failed jobs of this list; empty without any."""
        if self.problem or not is_selection(self.params) or set(self.selection.states) - {states.FAILED}:
            return ""
        if self.is_uncounted:
            return gettext("Retry all failed jobs like these")
        is_about_failed = self._is_narrowed or self.params.get("state") == states.FAILED
        count = self._count("failed", states.FAILED) if is_about_failed else 0
        text = ngettext("Retry %(count)s failed job", "Retry all %(count)s failed jobs", count)
        return text % {"count": in_words(count)} if count else ""

    @property
    def is_searched(self) -> bool:
        return self._is_narrowed

    @property
    def is_unfiltered(self) -> bool:
        return not self.query and not self.params

    @property
    def empty_text(self) -> str:
        """What to make of a list without jobs."""
        if self.problem:
            return ""
        if self.page.is_cut:
            return gettext("None of these jobs is meant; older ones may be.")
        if self._is_narrowed or self.selection.tried_again:
            return gettext("No job is like that.") if self._is_narrowed else _EMPTY[MORE]
        return str(_EMPTY.get(self.params.get("state"), gettext("No job is like that.")))


_EMPTY: dict[str | None, Any] = {
    None: _("Jobs appear here as soon as they are enqueued:"),
    states.SCHEDULED: _("No job waits for its time. One does after using(run_after=timedelta(hours=1)).enqueue()."),
    states.QUEUED: _("No job waits for a worker."),
    states.RUNNING: _("No job is running at this moment."),
    states.RETRYING: _("No job waits for another attempt. A task gets more than one by @task(max_attempts=3)."),
    states.SUCCEEDED: _("No job has succeeded yet. Jobs are run by: manage.py runworker"),
    states.FAILED: _("No job has failed: all is well."),
    states.CANCELLED: _("No job was cancelled."),
    MORE: _("No job has needed more than one attempt."),
}


def _params_of(kind: str | None) -> dict[str, str]:
    if kind == MORE:
        return {"tries": MORE}
    return {"state": kind} if kind else {}
