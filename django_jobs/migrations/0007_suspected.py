from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_jobs", "0006_labels")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="suspected",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
