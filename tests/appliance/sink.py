"""A mail server that takes everything and keeps it as it came, FOLDER/1.eml, 2.eml...: what postfix delivers to, in tests.

usage: sink.py FOLDER ADDRESS PORT. Needs python3-aiosmtpd.
"""
import asyncio
import os
import sys

from aiosmtpd.smtp import SMTP


class Keep:
    def __init__(self, folder):
        self.folder = folder

    async def handle_DATA(self, server, session, envelope):
        name = os.path.join(self.folder, f"{len(os.listdir(self.folder)) + 1}.eml")
        with open(name, "wb") as file:
            file.write(envelope.content)
        return "250 kept"


async def main(folder, address, port):
    os.makedirs(folder, exist_ok=True)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Keep(folder), hostname="sink.test"), address, int(port))
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:4]))
