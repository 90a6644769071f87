"""Memberships of groups get an end. Their table stays: it was Django's own between users and groups."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


def delete_ending(apps, schema_editor):
    """Delete the memberships that have an end: without the column, they would last forever."""
    apps.get_model("accounts", "Membership").objects.filter(ends_at__isnull=False).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("accounts", "0019_access_reviews"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="Membership",
                    fields=[
                        (
                            "id",
                            models.BigAutoField(
                                auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                            ),
                        ),
                        (
                            "user",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="memberships",
                                to=settings.AUTH_USER_MODEL,
                                verbose_name="user",
                            ),
                        ),
                        (
                            "group",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="memberships",
                                to="auth.group",
                                verbose_name="group",
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "group membership",
                        "verbose_name_plural": "group memberships",
                        "db_table": "accounts_user_groups",
                        "default_permissions": (),
                        "unique_together": {("user", "group")},
                    },
                ),
                migrations.AlterField(
                    model_name="user",
                    name="groups",
                    field=models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to "
                        "each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        through="accounts.Membership",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="membership",
            name="ends_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="ends"),
        ),
        migrations.AddIndex(
            model_name="membership",
            index=models.Index(
                condition=models.Q(("ends_at__isnull", False)), fields=["ends_at"], name="memberships_by_end"
            ),
        ),
        migrations.RunPython(migrations.RunPython.noop, delete_ending),
    ]
