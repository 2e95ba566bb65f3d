"""Measures django_jobs and its peers side by side: ``make bench``, see docs/benchmarks.md."""
