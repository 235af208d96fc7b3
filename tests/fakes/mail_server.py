# A mail server on 127.0.0.1 for tests of what sends mail: aiosmtpd, and what it took laid out in files.
#
#   python3 mail_server.py FOLDER
#
# FOLDER/port appears when it listens. The mail N, from 0 on, is in FOLDER/N: envelope (the sender and each receiver,
# one to a line), headers, text, and the files in it, read by Python's own library. Who is called "nobody" is refused.
import asyncio
import email
import email.policy
import pathlib
import sys

from aiosmtpd.smtp import SMTP

folder = pathlib.Path(sys.argv[1])


class Handler:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        to = folder / f"part{self.count}"
        to.mkdir()
        (to / "envelope").write_text("\n".join([envelope.mail_from, *envelope.rcpt_tos]) + "\n")
        (to / "headers").write_text("".join(f"{name}: {value}\n" for name, value in mail.items()))
        (to / "text").write_text(mail.get_body().get_content())
        for part in mail.iter_attachments():
            (to / pathlib.Path(part.get_filename()).name).write_bytes(part.get_payload(decode=True))
        to.rename(folder / str(self.count))
        self.count += 1
        return "250 OK"


async def main():
    handler = Handler()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(handler), "127.0.0.1", 0)
    part = folder / "port.part"
    part.write_text(str(server.sockets[0].getsockname()[1]))
    part.rename(folder / "port")
    await server.serve_forever()


asyncio.run(main())
