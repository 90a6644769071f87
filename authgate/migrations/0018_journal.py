
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("authgate", "0017_doctor"),
    ]

    operations = [
        migrations.CreateModel(
            name="JournalContext",
            fields=[
                ("id", models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                ("actor", models.CharField(max_length=150)),
                ("number", models.BigIntegerField(null=True)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="JournalGap",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("since", models.DateTimeField(null=True)),
                ("until", models.DateTimeField(null=True)),
                ("reason", models.CharField(max_length=20)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="JournalEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(db_index=True, verbose_name="time")),
                ("change", models.BigIntegerField(db_index=True, null=True)),
                ("actor", models.CharField(blank=True, max_length=150, verbose_name="changed by")),
                ("table_name", models.CharField(max_length=60)),
                ("key", models.BigIntegerField()),
                ("before", models.JSONField(null=True, verbose_name="before")),
                ("after", models.JSONField(null=True, verbose_name="after")),
                ("person", models.BigIntegerField(null=True)),
                ("team", models.BigIntegerField(null=True)),
                ("application", models.BigIntegerField(null=True)),
                ("is_baseline", models.BooleanField(default=False)),
            ],
            options={
                "verbose_name": "change",
                "verbose_name_plural": "changes",
                "ordering": ["-pk"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["table_name", "key", "id"], name="journal_of_a_row"),
                    models.Index(
                        condition=models.Q(("person__isnull", False)),
                        fields=["person", "id"],
                        name="journal_of_person",
                    ),
                    models.Index(
                        condition=models.Q(("team__isnull", False)),
                        fields=["team", "id"],
                        name="journal_of_team",
                    ),
                    models.Index(
                        condition=models.Q(("application__isnull", False)),
                        fields=["application", "id"],
                        name="journal_of_application",
                    ),
                ],
            },
        ),
    ]
