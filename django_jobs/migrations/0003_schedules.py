from django.db import migrations, models

import django_jobs.models.fields


class Migration(migrations.Migration):
    dependencies = [
        ("django_jobs", "0002_postgresql_storage"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="job",
            name="dj_job_schedule",
        ),
        migrations.AddField(
            model_name="schedule",
            name="after_downtime",
            field=models.CharField(
                choices=[("once", "Run once"), ("skip", "Skip them"), ("all", "Run all of them, up to a number")],
                db_default="once",
                default="once",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="catch_up",
            field=models.PositiveSmallIntegerField(db_default=10, default=10),
        ),
        migrations.AddField(
            model_name="schedule",
            name="declared",
            field=django_jobs.models.fields.EncodedField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="jitter",
            field=models.DurationField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="max_runs",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="schedule",
            name="overlap",
            field=models.CharField(
                choices=[("run", "Run anyway"), ("skip", "Skip this run"), ("queue", "Wait until it has ended")],
                db_default="run",
                default="run",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="run_count",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="schedulerun",
            name="kind",
            field=models.CharField(
                choices=[
                    ("due", "by the rule"),
                    ("by_hand", "by hand"),
                    ("skipped", "skipped, the last run was still going"),
                    ("missed", "missed, no worker was there"),
                ],
                db_default="due",
                default="due",
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="cron",
            field=models.CharField(blank=True, default="", max_length=255),
        ),
        migrations.AddIndex(
            model_name="job",
            index=django_jobs.models.fields.PartialIndex(
                fields=["schedule", "finished_at"],
                name="dj_job_of_schedule",
                where=models.Q(("schedule__isnull", False)),
            ),
        ),
    ]
