"""A mail server as small as can be, for tests: takes every mail and keeps it as FOLDER/1.eml, 2.eml...

usage: receiver.py FOLDER ADDRESS PORT
Runs in the machine too, so it needs nothing but Python's own library. Speaks no TLS.
"""
import itertools
import os
import socketserver
import sys

folder, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
numbers = itertools.count(1)


class Session(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.say("220 receiver.test ESMTP of the test")
        for line in self.rfile:
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"EHLO":
                self.say("250-receiver.test")
                self.say("250 SIZE 50000000")
            elif verb == b"DATA":
                self.say("354 go on")
                mail = []
                for part in self.rfile:
                    if part == b".\r\n":
                        break
                    mail.append(part[1:] if part.startswith(b"..") else part)
                name = os.path.join(folder, f"{next(numbers)}.eml")
                with open(name + ".new", "wb") as file:
                    file.write(b"".join(mail))
                os.rename(name + ".new", name)
                self.say("250 kept")
            elif verb == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 fine")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


os.makedirs(folder, exist_ok=True)
Server((address, port), Session).serve_forever()
