"""What tasks of the tests do to the world."""

from django.db import models


class Effect(models.Model):
    """One effect of one run of a body; two rows of one key mean that it ran twice."""

    key = models.CharField(max_length=200)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self):
        return self.key
