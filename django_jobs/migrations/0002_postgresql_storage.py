"""Storage settings for PostgreSQL: rows are updated thrice and pruned, so tables are vacuumed by count, not share."""

from django.db import migrations

TABLES = ("django_jobs_job", "django_jobs_attempt")
SETTINGS = (
    "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, "
    "autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05, "
    "autovacuum_vacuum_cost_delay = 1"
)


def set_storage(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in TABLES:
            schema_editor.execute(f"ALTER TABLE {table} SET ({SETTINGS})")


class Migration(migrations.Migration):
    dependencies = [("django_jobs", "0001_initial")]

    operations = [migrations.RunPython(set_storage, migrations.RunPython.noop, elidable=False)]
