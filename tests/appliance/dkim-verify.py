"""Verifies the DKIM signature of a mail by the record that env-create put at the top of an environment.

usage: dkim-verify.py MAIL ENV.yml DOMAIN; exit status 0: signed by DOMAIN, and right. Needs python3-dkim.
"""
import re
import sys

import dkim

mail = open(sys.argv[1], "rb").read()
domain = sys.argv[3]
name = f"default._domainkey.{domain}."
text = open(sys.argv[2], encoding="utf-8").read()
line = re.search(r"^#\s+" + re.escape(name) + r"\s+IN\s+TXT\s+(.*)$", text, re.MULTILINE)
assert line, f"the environment names no {name}"
record = "".join(re.findall(r'"([^"]*)"', line.group(1)))


def dns(asked, timeout=5):
    return record.encode() if asked.decode() == name else None


signer = dkim.DKIM(mail)
assert signer.verify(dnsfunc=dns), "no right signature"
assert signer.domain == domain.encode(), signer.domain
headers = {header for header, _ in signer.signed_headers}
assert {b"from", b"subject"} <= headers, headers
# a check that can fail: one letter of the body changed
assert not dkim.verify(mail.replace(b"kiln", b"kilm"), dnsfunc=dns), "another body verifies too"
print("signed by", domain)
