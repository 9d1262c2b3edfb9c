import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_workflow", "0006_people"),
    ]

    operations = [
        migrations.CreateModel(
            name="Call",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("step_key", models.CharField(max_length=400, verbose_name="step")),
                ("request_text", models.TextField()),
                ("is_masked", models.BooleanField(default=False)),
                (
                    "run",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="calls",
                        to="django_workflow.run",
                    ),
                ),
            ],
            options={
                "verbose_name": "call",
                "verbose_name_plural": "calls",
                "default_permissions": ("view",),
            },
        ),
        migrations.AddConstraint(
            model_name="call",
            constraint=models.UniqueConstraint(
                fields=("run", "step_key"), name="django_workflow_call_once_per_step"
            ),
        ),
        migrations.AddField(
            model_name="delivery",
            name="lane",
            field=models.CharField(db_default="", default="", max_length=10),
        ),
        migrations.RemoveIndex(
            model_name="delivery",
            name="dw_delivery_due",
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["lane", "due_at"], name="dw_delivery_due"),
        ),
    ]
