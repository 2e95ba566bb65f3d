from django.db import migrations

import django_jobs.models.fields


class Migration(migrations.Migration):
    dependencies = [("django_jobs", "0007_suspected")]

    operations = [
        migrations.AddField("attempt", "args", django_jobs.models.fields.EncodedField(null=True)),
        migrations.AddField("attempt", "kwargs", django_jobs.models.fields.EncodedField(null=True)),
    ]
