"""A small project that was written for another backend of Django's framework, and knows nothing of django_jobs.

Only its settings name django_jobs: the backend, the app, and the cache that jobs go through.
"""
