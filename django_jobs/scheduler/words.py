"""Says in words when a schedule runs."""

from __future__ import annotations

from datetime import timedelta

from cron_descriptor import Options, get_description
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import get_language, gettext, ngettext, to_locale

from ..cron import ALIASES
from ..models import Schedule


def sentence(schedule: Schedule) -> str:
    """Return when the schedule runs, as a sentence in the active language; never raise."""
    if schedule.cron:
        return (
            f"{cron_sentence(schedule.cron)} ({schedule.timezone})"
            if schedule.timezone
            else cron_sentence(schedule.cron)
        )
    if schedule.every is not None:
        return gettext("Every %(duration)s") % {"duration": duration(schedule.every)}
    if schedule.once_at:
        return gettext("Once, on %(moment)s") % {"moment": date_format(localtime(schedule.once_at), "DATETIME_FORMAT")}
    return gettext("Never")


def cron_sentence(expression: str) -> str:
    """Return a cron expression in words, or as it is when there are none for it."""
    lowered = expression.strip().lower()
    options = Options()  # set one by one: version 1, which django-celery-beat wants, takes no arguments
    options.use_24hour_time_format = True
    options.locale_code = _full_locale(get_language() or "en")
    try:
        return get_description(ALIASES.get(lowered, lowered), options)
    except Exception:  # another library's parser, fed with what people type
        return expression


def _full_locale(language: str) -> str:
    """Return the name cron-descriptor has for a language: always with a country."""
    locale = to_locale(language)
    return locale if "_" in locale else _COUNTRIES.get(locale, f"{locale}_{locale.upper()}")


_COUNTRIES = {
    "cs": "cs_CZ", "da": "da_DK", "el": "el_GR", "en": "en_US", "fa": "fa_IR", "he": "he_IL", "ja": "ja_JP",
    "kk": "kk_KZ", "ko": "ko_KR", "nb": "nb_NO", "sl": "sl_SI", "sv": "sv_SE", "ta": "ta_IN", "uk": "uk_UA",
    "vi": "vi_VN",
}  # fmt: skip


def duration(length: timedelta) -> str:
    """Return a duration in words, in the units that it is made of: "1 hour 30 minutes"."""
    seconds = length.total_seconds()
    whole = int(seconds)
    parts = []
    for size, words in _units():
        count, whole = divmod(whole, size)
        if count:
            parts.append(words(count))
    if fraction := seconds - int(seconds):
        parts.append(f"{fraction * 1000:g} ms")
    return " ".join(parts) or "0 s"


def _units():
    yield 86400, lambda n: ngettext("%(n)s day", "%(n)s days", n) % {"n": n}
    yield 3600, lambda n: ngettext("%(n)s hour", "%(n)s hours", n) % {"n": n}
    yield 60, lambda n: ngettext("%(n)s minute", "%(n)s minutes", n) % {"n": n}
    yield 1, lambda n: ngettext("%(n)s second", "%(n)s seconds", n) % {"n": n}
