from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_jobs", "0004_follow_ups")]

    operations = [
        migrations.AddField(
            "worker",
            "wish",
            models.CharField(
                blank=True,
                choices=[("", "to work"), ("quiet", "to take nothing more"), ("stop", "to stop")],
                db_default="",
                default="",
                max_length=8,
            ),
        ),
        migrations.CreateModel(
            name="Counter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("since", models.DateTimeField()),
                ("seconds", models.IntegerField()),
                ("queue_name", models.CharField(max_length=64)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("succeeded", "succeeded"),
                            ("failed", "failed"),
                            ("retried", "to be retried"),
                            ("cancelled", "cancelled"),
                            ("wait", "waiting time"),
                            ("run", "run time"),
                        ],
                        max_length=9,
                    ),
                ),
                ("bucket", models.SmallIntegerField(default=0)),
                ("count", models.BigIntegerField(default=0)),
            ],
            options={
                "verbose_name": "counter",
                "verbose_name_plural": "counters",
                "constraints": [
                    models.UniqueConstraint(
                        fields=["seconds", "since", "queue_name", "kind", "bucket"], name="dj_counter_cell"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Overview",
            fields=[],
            options={
                "verbose_name": "overview",
                "verbose_name_plural": " Overview",
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("django_jobs.job",),
        ),
    ]
