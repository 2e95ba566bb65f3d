import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_jobs", "0005_counters")]

    operations = [
        migrations.CreateModel(
            name="JobLabel",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "job_id", "label", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("label", models.CharField(max_length=200)),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="labels",
                        to="django_jobs.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "label",
                "verbose_name_plural": "labels",
                "indexes": [models.Index(fields=["label", "job"], name="dj_label_jobs")],
            },
        ),
    ]
