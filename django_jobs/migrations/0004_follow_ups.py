from django.db import migrations, models

import django_jobs.models.fields


class Migration(migrations.Migration):
    dependencies = [("django_jobs", "0003_schedules")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="followed",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="job",
            name="log",
            field=models.TextField(null=True),
        ),
        migrations.AddIndex(
            model_name="job",
            index=django_jobs.models.fields.PartialIndex(
                fields=["parent"], name="dj_job_parent", where=models.Q(("parent__isnull", False))
            ),
        ),
    ]
