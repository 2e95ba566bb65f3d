"""Signals of a job's life; receivers get the sender (the class Job) and keyword arguments.

The first four are sent where the thing happens: in the enqueuing process, and in the worker's child.
Receivers that raise are logged and never stop the work.
"""

from __future__ import annotations

from django.dispatch import Signal

job_enqueued = Signal(use_caching=True)  # job: the saved Job, before its transaction is committed
job_started = Signal(use_caching=True)  # job: about to run its body
job_retried = Signal(use_caching=True)  # job, outcome: its body has failed, it is tried again; sent before job_finished
job_finished = Signal(use_caching=True)  # job, outcome: its body has ended; the outcome may not be recorded yet

worker_started = Signal()  # in each process that runs bodies, sent by Child: child (its number)
worker_stopped = Signal()  # in each process that runs bodies, before it ends: child (its number)
