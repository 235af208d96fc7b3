from django.db import migrations, models
import django.db.models.deletion
import django.utils.timezone


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Answered',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sender', models.CharField(max_length=320, unique=True)),
                ('at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='Pulse',
            fields=[
                ('name', models.CharField(max_length=16, primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='Message',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('direction', models.CharField(choices=[('in', 'incoming'), ('out', 'outgoing')], max_length=3)),
                ('state', models.CharField(choices=[('received', 'received'), ('queued', 'waiting for postfix'), ('sending', 'being handed to postfix'), ('sent', 'handed to postfix'), ('failed', 'refused by postfix'), ('unsure', 'perhaps handed to postfix')], max_length=8)),
                ('key', models.CharField(max_length=64, unique=True)),
                ('message_id', models.TextField(blank=True)),
                ('in_reply_to', models.TextField(blank=True)),
                ('thread', models.TextField(blank=True)),
                ('sender', models.TextField(blank=True)),
                ('recipients', models.JSONField(default=list)),
                ('subject', models.TextField(blank=True)),
                ('text', models.TextField(blank=True)),
                ('raw', models.BinaryField()),
                ('size', models.PositiveIntegerField(default=0)),
                ('verdict', models.TextField(blank=True)),
                ('made', models.DateTimeField(default=django.utils.timezone.now)),
                ('sent', models.DateTimeField(blank=True, null=True)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('next_try', models.DateTimeField(default=django.utils.timezone.now)),
                ('note', models.TextField(blank=True)),
                ('answers', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='answered_by', to='mail.message')),
            ],
            options={
                'ordering': ['-made', '-id'],
            },
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['direction', 'made'], name='mail_direction_made'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['state', 'next_try'], name='mail_state_next'),
        ),
    ]
