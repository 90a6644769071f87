from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("authgate", "0014_access_requests")]

    operations = [
        migrations.AlterModelOptions(
            name="application",
            options={
                "ordering": ["name"],
                "permissions": [("explain_access", "Can explain access")],
                "verbose_name": "application",
                "verbose_name_plural": "applications",
            },
        )
    ]
