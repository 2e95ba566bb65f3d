from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("django_jobs", "0002_postgresql_storage")]

    operations = []
