"""The upload of a CSV file of airports."""

import csv

from django import forms

from .tasks import COLUMNS

MAX_BYTES = 20 * 1024 * 1024


class UploadForm(forms.Form):
    file = forms.FileField(label="CSV file", widget=forms.FileInput(attrs={"accept": ".csv,text/csv"}))

    def clean_file(self):
        """Refuse at once what the job could not read."""
        file = self.cleaned_data["file"]
        if file.size > MAX_BYTES:
            raise forms.ValidationError("The file is larger than 20 MB.")
        missing = COLUMNS - header(file)
        if missing:
            raise forms.ValidationError(f"The first line has no {', '.join(sorted(missing))}.")
        return file


def header(file) -> set[str]:
    """Return the names in the file's first line."""
    file.seek(0)
    line = file.readline(10_000).decode("utf-8-sig", errors="replace")
    file.seek(0)
    return set(next(csv.reader([line]), []))
