"""Runs Django's own tests of its Tasks framework against JobsBackend and a real worker.

``python -m tests.djangosuite [FOLDER]`` downloads the source release of the Django that is installed into the
folder, unless it is there, and runs its ``tests/tasks`` with Django's two backends replaced by ours.
"""
