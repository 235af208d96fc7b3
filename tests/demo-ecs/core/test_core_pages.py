"""The pages, as anonymous visitors, nginx and liars see them."""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from core import parts, pdf, tasks, views
from core.models import Check, Job, Tick
from django.core.cache import cache
from django.test import Client, TestCase, override_settings
from django.utils import timezone

SECRET = 'x' * 64
BY_NGINX = {'HTTP_X_APPLIANCE_SECRET': SECRET, 'HTTP_X_FORWARDED_PROTO': 'https'}
VERIFIED = {**BY_NGINX, 'HTTP_X_SSL_CLIENT_VERIFY': 'SUCCESS', 'HTTP_X_SSL_CLIENT_SERIAL': '1A2B3C'}
FOUND = {name: {'ok': name != 'vault', 'text': 'details of %s' % name} for name in parts.PARTS}
NAMES = ['database', 'queue', 'worker', 'beat', 'cache', 'mail_in', 'mail_out', 'vault', 'signature', 'certificates']


@override_settings(PROXY_SECRET=SECRET, ALLOWED_HOSTS=['ecs.test'])
class Pages(TestCase):
    def setUp(self):
        self.look = mock.Mock(side_effect=lambda: {name: dict(part) for name, part in FOUND.items()})
        patch = mock.patch.object(parts, 'look', self.look)
        patch.start()
        self.addCleanup(patch.stop)
        self.forget()

    def forget(self):
        parts.own.update(at=0.0, parts=None)
        cache.delete('status')

    def get(self, path, **headers):
        return self.client.get(path, HTTP_HOST='ecs.test', **headers)

    def test_what_the_appliance_says_of_it_is_for_the_verified(self):
        with tempfile.TemporaryDirectory() as folder, override_settings(CACHE_FOLDER=Path(folder)):
            self.assertNotContains(self.get('/', **VERIFIED), 'class="says"')
            (Path(folder) / 'notice').write_text('A new version <b> did not start.')
            self.assertContains(self.get('/', **VERIFIED), 'A new version &lt;b&gt; did not start.')
            self.assertNotContains(self.get('/', **BY_NGINX), 'did not start')

    def test_visitors_see_green_or_red_and_nothing_else(self):
        for page in ('/', '/status.json'):
            answer = self.get(page, **BY_NGINX)
            self.assertEqual(answer.status_code, 200)
            self.assertNotIn('details of', answer.content.decode())
        self.assertEqual(self.get('/status.json').json(),
                         {'all': False, 'parts': {name: {'ok': name != 'vault'} for name in NAMES}})
        page = self.get('/').content.decode()
        self.assertIn('1 of 10 parts need a look', page)
        self.assertNotIn('<form', page)

    def test_who_has_a_certificate_sees_why(self):
        found = self.get('/status.json', **VERIFIED).json()
        self.assertEqual(found['parts']['vault'], {'ok': False, 'text': 'details of vault'})
        page = self.get('/', **VERIFIED).content.decode()
        self.assertIn('details of vault', page)
        self.assertIn('<form', page)
        self.assertIn('1A2B3C', self.get('/certificate', **VERIFIED).content.decode())

    def test_nobody_is_believed_without_the_secret_of_nginx(self):
        lies = [
            {'HTTP_X_APPLIANCE_SECRET': 'y' * 64}, {'HTTP_X_APPLIANCE_SECRET': ''}, {'HTTP_X_APPLIANCE_SECRET': SECRET + 'x'},
            {'HTTP_X_APPLIANCE_SECRET': 'ä'}, {'HTTP_X_SSL_CLIENT_VERIFY': 'NONE'}, {'HTTP_X_SSL_CLIENT_VERIFY': 'success'},
            {'HTTP_X_SSL_CLIENT_SERIAL': ''},
        ]
        for lie in lies:
            with self.subTest(lie):
                self.assertNotIn('1A2B3C', self.get('/certificate', **{**VERIFIED, **lie}).content.decode())
                self.assertNotIn('details of', self.get('/status.json', **{**VERIFIED, **lie}).content.decode())
        with override_settings(PROXY_SECRET=''):
            self.assertNotIn('details of', self.get('/status.json', **{**VERIFIED, 'HTTP_X_APPLIANCE_SECRET': ''}).content.decode())

    def test_nothing_is_done_for_visitors(self):
        with mock.patch.object(pdf, 'sign') as sign:
            for page in ('/do/job', '/do/vault', '/do/mail', '/do/checks', '/pdf'):
                with self.subTest(page):
                    self.assertEqual(self.client.post(page, {'to': 'a@b.test'}, HTTP_HOST='ecs.test', **BY_NGINX).status_code, 403)
            self.assertEqual(self.get('/pdf', **BY_NGINX).status_code, 403)
            self.assertEqual(self.get('/pdf/%s' % ('0' * 8 + '-0000' * 3 + '-' + '0' * 12)).status_code, 403)
            self.get('/')
        sign.assert_not_called()
        self.assertEqual(Job.objects.count(), 0)

    def test_a_form_of_another_site_does_nothing(self):
        client = Client(enforce_csrf_checks=True)
        post = {'HTTP_HOST': 'ecs.test', 'HTTP_REFERER': 'https://ecs.test/', **VERIFIED}
        self.assertEqual(client.post('/do/job', **post).status_code, 403)
        page = client.get('/', **post).content.decode()
        token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page).group(1)
        self.assertEqual(client.post('/do/job', {'csrfmiddlewaretoken': token}, **{**post, 'HTTP_REFERER': 'https://evil.test/'}).status_code, 403)
        self.assertEqual(Job.objects.count(), 0)
        with mock.patch.object(tasks.job, 'apply_async') as queued:
            self.assertEqual(client.post('/do/job', {'csrfmiddlewaretoken': token}, **post).status_code, 302)
        queued.assert_called_once()
        self.assertIn('Job %d is queued.' % Job.objects.get().id, client.get('/', **post).content.decode())

    def test_a_name_that_is_not_ours_may_look_but_not_act(self):
        self.assertEqual(self.client.get('/', HTTP_HOST='192.0.2.7').status_code, 200)
        self.assertEqual(self.client.post('/do/job', HTTP_HOST='192.0.2.7', **VERIFIED).status_code, 400)

    def test_however_many_come_the_parts_are_looked_at_once_in_ten_seconds(self):
        for _ in range(5):
            self.get('/')
        self.assertEqual(self.look.call_count, 1)
        parts.own.update(at=0.0, parts=None)  # another process
        self.get('/status.json')
        self.assertEqual(self.look.call_count, 1)
        later = parts.time.time() + 10.5
        with mock.patch.object(parts.time, 'time', lambda: later):
            self.get('/')
        self.assertEqual(self.look.call_count, 2)

    def test_nor_without_memcached(self):
        gone = mock.Mock(get=mock.Mock(side_effect=OSError), set=mock.Mock(side_effect=OSError))
        with mock.patch.object(parts, 'cache', gone):
            for _ in range(5):
                self.assertEqual(self.get('/').status_code, 200)
        self.assertEqual(self.look.call_count, 1)

    def test_what_lies_in_the_cache_is_not_believed_blindly(self):
        cache.set('status', {'at': parts.time.time(), 'parts': {'evil': {'ok': True}}}, 10)
        self.assertEqual(set(self.get('/status.json').json()['parts']), set(NAMES))

    def test_no_network_and_no_script(self):
        for page in ('/', '/certificate', '/pdf'):
            answer = self.get(page, **VERIFIED)
            policy = answer['Content-Security-Policy']
            self.assertIn("default-src 'none'", policy)
            nonce = re.search("style-src 'nonce-([^']+)'", policy).group(1)
            text = answer.content.decode()
            self.assertEqual(re.findall(r'<style nonce="([^"]+)"', text), [nonce])
            self.assertNotIn('<script', text)
            self.assertEqual(re.findall(r'(?:src|href|action)="(?:https?:)?//[^"]*"', text), [])

    def test_health_says_whether_the_tables_are_there_and_then_asks_no_more(self):
        with mock.patch.object(views, 'ready', False):
            with mock.patch.object(views.schema, 'missing', return_value=['core.0001_initial']):
                answer = self.get('/health')
                self.assertEqual(answer.status_code, 503)
                self.assertIn('waiting', answer.content.decode())
            self.assertEqual(self.get('/health').status_code, 200)
            with self.assertNumQueries(0):
                self.assertEqual(self.get('/health').status_code, 200)

    def test_a_queue_that_is_away_is_told(self):
        with mock.patch.object(tasks.job, 'apply_async', side_effect=views.OperationalError('away')):
            self.client.post('/do/job', HTTP_HOST='ecs.test', **VERIFIED)
        self.assertEqual(Job.objects.get().state, Job.FAILED)
        self.assertIn('did not take the job', self.get('/', **VERIFIED).content.decode())

    def test_a_pdf_is_signed_shown_and_fetched(self):
        with tempfile.TemporaryDirectory() as folder, override_settings(CACHE_FOLDER=Path(folder)):
            with mock.patch.object(pdf, 'sign', return_value=b'%PDF-signed') as sign, mock.patch.object(pdf, 'verify', return_value='Somebody'):
                answer = self.client.post('/pdf', HTTP_HOST='ecs.test', **VERIFIED)
            self.assertIn(b'%PDF-', sign.call_args[0][0])
            text = answer.content.decode()
            self.assertIn('Somebody', text)
            link = re.search('id="signed" href="([^"]+)"', text).group(1)
            self.assertEqual(b''.join(self.get(link, **VERIFIED).streaming_content), b'%PDF-signed')
            self.assertEqual(self.get(link).status_code, 403)
            with mock.patch.object(pdf, 'sign', side_effect=pdf.Trouble('pdfas does not answer')):
                answer = self.client.post('/pdf', HTTP_HOST='ecs.test', **VERIFIED)
            self.assertEqual(answer.status_code, 502)
            self.assertIn('pdfas does not answer', answer.content.decode())


class Work(TestCase):
    def test_a_job_that_is_given_out_twice_is_done_once(self):
        job = Job.objects.create()
        tasks.job(job.id)
        first = Job.objects.get()
        self.assertEqual(first.state, Job.DONE)
        tasks.job(job.id)
        self.assertEqual(Job.objects.get().finished, first.finished)

    def test_what_the_checks_find_is_shown_while_it_is_fresh(self):
        self.assertEqual(parts.checked('vault'), (False, 'not looked at yet'))
        tasks.keep('vault', lambda: 'fine', ValueError)
        self.assertEqual(parts.checked('vault')[0], True)
        Check.objects.update(at=timezone.now() - timezone.timedelta(minutes=5))
        self.assertEqual(parts.checked('vault')[0], False)

        def fails():
            raise RuntimeError('with a secret')
        with self.assertLogs('core.tasks', 'ERROR'):
            tasks.keep('vault', fails, ValueError)
        self.assertEqual(parts.checked('vault')[0], False)
        self.assertNotIn('secret', parts.checked('vault')[1])

    def test_old_ticks_and_jobs_go(self):
        for model, field, age in ((Tick, 'at', 2), (Job, 'queued', 40)):
            model.objects.create()
            old = model.objects.create()
            model.objects.filter(id=old.id).update(**{field: timezone.now() - timezone.timedelta(days=age)})
        with tempfile.TemporaryDirectory() as folder, override_settings(CACHE_FOLDER=Path(folder), CA_FOLDER=Path(folder)):
            signed = Path(folder) / 'signed'
            signed.mkdir()
            for name, age in (('old.pdf', 7200), ('.half.pdf.x', 7200), ('new.pdf', 0)):
                (signed / name).touch()
                os.utime(signed / name, (parts.time.time() - age,) * 2)
            with self.assertLogs('core.tasks', 'ERROR'):  # there is no authority here, and the rest is done all the same
                tasks.hourly()
            self.assertEqual([file.name for file in signed.iterdir()], ['new.pdf'])
        self.assertEqual((Tick.objects.count(), Job.objects.count()), (1, 1))

    def test_a_part_that_breaks_or_hangs_is_red_and_holds_up_nobody(self):
        import threading
        end = threading.Event()
        self.addCleanup(end.set)

        def breaks():
            raise ZeroDivisionError('x')
        broken = {name: (name, '', lambda: (True, 'fine')) for name in parts.PARTS}
        broken['queue'] = ('', '', breaks)
        broken['cache'] = ('', '', lambda: end.wait(20))
        with mock.patch.object(parts, 'PARTS', broken), mock.patch.object(parts, 'PATIENCE', 0.5):
            start = parts.time.time()
            found = parts.look()
            self.assertLess(parts.time.time() - start, 5)
        self.assertEqual({name for name, part in found.items() if not part['ok']}, {'queue', 'cache'})


class Settings(TestCase):
    def told(self, text):
        return subprocess.run([sys.executable, Path(parts.__file__).parent.parent / 'manage.py', 'check'], env=dict(os.environ, ECS_SETTINGS=text),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_settings_of_the_environment_count(self):
        self.assertEqual(self.told("DOMAIN = 'x.test'\nSECRET_KEY = 'abc'\nALLOWED_HOSTS = [DOMAIN]").returncode, 0)

    def test_broken_ones_are_told_by_line_and_without_what_is_in_them(self):
        for text in ("A = 1\nSECRET_KEY = geheim\n", "A = 1\nSECRET_KEY = 'geheim\n", "A = 1\nraise ValueError('geheim')", "A = 1\nexit('geheim')"):
            with self.subTest(text):
                done = self.told(text)
                self.assertEqual(done.returncode, 1)
                self.assertIn('line 2', done.stderr)
                self.assertNotIn('geheim', done.stderr)
                self.assertNotIn('Traceback', done.stderr)
