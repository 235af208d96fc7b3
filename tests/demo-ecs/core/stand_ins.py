"""Stand-ins of what the application talks to and the tests do not have.

usage: stand_ins.py pdfas PORT KEY CERT    signs a PDF as far as the application looks at it, for who sends PDFAS_SECRET
       stand_ins.py postfix PORT           takes every mail
"""
import os
import subprocess
import sys
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ.get('PDFAS_SECRET', '')
ROOM = 8192


def sign(content, key, certificate, *how):
    """CONTENT with a signature behind it: detached CMS over all bytes but its own."""
    form = b'6 0 obj\n<</Type/Sig/Filter/Adobe.PPKLite/SubFilter/adbe.pkcs7.detached/ByteRange[0 %010d %010d %010d]/Contents'
    tail = b'>>\nendobj\n%%EOF\n'
    first = len(content) + len(form % (0, 0, 0))
    second = first + ROOM * 2 + 2
    head = content + form % (first, second, len(tail))
    cms = subprocess.run(['openssl', 'cms', '-sign', '-binary', '-outform', 'DER', '-signer', certificate, '-inkey', key, *how],
                         input=head + tail, stdout=subprocess.PIPE, check=True).stdout
    return head + b'<' + cms.hex().encode().ljust(ROOM * 2, b'0') + b'>' + tail


class Pdfas(BaseHTTPRequestHandler):
    key = certificate = None

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        if self.path != '/pdf-as-web/Sign' or not SECRET or self.headers.get('X-Pdfas-Secret') != SECRET:
            return self.answer(403, 'text/plain;charset=UTF-8', b'Only the appliance itself may have a PDF signed.\n')
        mail = message_from_bytes(b'Content-Type: %s\r\n\r\n' % self.headers['Content-Type'].encode() + body, policy=policy.HTTP)
        form = {part.get_param('name', header='Content-Disposition'): part.get_payload(decode=True) for part in mail.iter_parts()}
        content = form['pdf-file']
        if form['connector'] != b'jks' or not content.startswith(b'%PDF-'):
            return self.answer(422, 'text/plain;charset=UTF-8', b'This is not a PDF.\n')
        return self.answer(200, 'application/pdf', sign(content, self.key, self.certificate))

    def log_message(self, *args):
        pass


def pdfas(port, key, certificate):
    handler = type('Handler', (Pdfas,), {'key': key, 'certificate': certificate})
    return ThreadingHTTPServer(('127.0.0.1', port), handler)


def postfix(port):
    from aiosmtpd.controller import Controller

    class Take:
        async def handle_DATA(self, server, session, envelope):
            return '250 OK'

    controller = Controller(Take(), hostname='127.0.0.1', port=port)
    controller.start()
    return controller


if __name__ == '__main__':
    if sys.argv[1] == 'pdfas':
        pdfas(int(sys.argv[2]), *sys.argv[3:]).serve_forever()
    else:
        import threading
        postfix(int(sys.argv[2]))
        threading.Event().wait()
