"""Rules for mail, as pure functions: no database, no network, no clock."""
import email
import email.errors
import email.header
import email.utils
import hashlib
import re
from email import policy
from email.parser import BytesParser

HEADER_LIMIT = 256 * 1024
PARSE_LIMIT = 1024 * 1024
VALUE_LIMIT = 32 * 1024
TEXT_LIMIT = 64 * 1024
SUBJECT_LIMIT = 400
REFERENCES_LIMIT = 20

_ATOM = r"[A-Za-z0-9!#$&'*+/=?^_`{|}~-]+"                    # no '%': nothing is relayed, not even when asked this way
_LOCAL = re.compile(rf'{_ATOM}(\.{_ATOM})*\Z')
_DOMAIN = re.compile(r'(?!-)[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\Z')
_SENDER = re.compile(r'[\x21-\x3b\x3d\x3f-\x7e]+\Z')        # printable ASCII without blanks and angle brackets
_MESSAGE_ID = re.compile(r'<[\x21-\x3b\x3d\x3f-\x7e]{1,400}>')
_CONTROL = re.compile(r'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')
_ROBOTS = re.compile(r'(mailer-daemon|postmaster|no[-_.]?reply|do[-_.]?not[-_.]?reply|bounces?|listserv|majordomo)\Z')


def text(value, limit=None):
    """Text that PostgreSQL takes: no NUL or other control character, no lone surrogate, at most `limit` characters."""
    if isinstance(value, bytes):
        value = value.decode('utf-8', 'replace')
    value = str(value).encode('utf-8', 'replace').decode('utf-8')
    value = _CONTROL.sub('\N{REPLACEMENT CHARACTER}', value)
    return value if limit is None else value[:limit]


def line(value, limit=None):
    """As text(), and one line: what goes into a header must not begin another."""
    value = re.sub(r'[\r\n\t\x85\u2028\u2029 ]+', ' ', text(value)).strip()
    return value if limit is None else value[:limit].rstrip()


def parse(raw):
    """The mail as email.message.Message. A long one is read by its beginning only: what follows are attachments."""
    try:
        return email.message_from_bytes(raw[:PARSE_LIMIT], policy=policy.compat32)
    except RecursionError:                                  # parts within parts within parts
        return BytesParser(policy=policy.compat32).parsebytes(raw[:PARSE_LIMIT], headersonly=True)


def values(mail, name):
    """All headers of this name, as they came, one line each. Malformed ones are no reason to fail."""
    found = []
    for value in mail.get_all(name, []):
        try:
            found.append(line(value, VALUE_LIMIT))
        except (ValueError, LookupError):
            found.append('')
    return found


def header(mail, name):
    return next(iter(values(mail, name)), '')


def subject(mail):
    """The subject for people: encoded words decoded where that can be done."""
    value = header(mail, 'Subject')[:10 * SUBJECT_LIMIT]
    try:
        value = str(email.header.make_header(email.header.decode_header(value)))
    except (ValueError, LookupError, email.errors.MessageError):
        pass                                                # an unknown charset or broken base64: shown as it came
    return line(value, SUBJECT_LIMIT)


def body(mail):
    """The first plain text of the mail, or ''."""
    try:
        parts = list(mail.walk())
    except RecursionError:
        return ''
    for part in parts:
        if part.is_multipart() or part.get_content_type() != 'text/plain' or part.get_filename():
            continue
        try:
            content = part.get_payload(decode=True) or b''
        except (ValueError, LookupError):
            return ''
        try:
            charset = str(part.get_content_charset() or 'utf-8')
            return text(content.decode(charset, 'replace'), TEXT_LIMIT)
        except (ValueError, LookupError):                   # undecodable, or a charset nobody knows
            return text(content.decode('ascii', 'replace'), TEXT_LIMIT)
    return ''


def message_id(mail):
    found = _MESSAGE_ID.search(header(mail, 'Message-Id'))
    return found.group() if found else ''


def message_ids(value):
    return _MESSAGE_ID.findall(value)


def references(mail):
    """References for what answers `mail`, RFC 5322 3.6.4: those of the mail, or its In-Reply-To, and its own id. A long thread
    keeps its first and its latest ids."""
    ids = message_ids(header(mail, 'References'))
    if not ids:
        parents = message_ids(header(mail, 'In-Reply-To'))
        ids = parents if len(parents) == 1 else []
    own = message_id(mail)
    if own:
        ids = [one for one in ids if one != own] + [own]
    if len(ids) > REFERENCES_LIMIT:
        ids = ids[:1] + ids[-(REFERENCES_LIMIT - 1):]
    return ids


def delivery_key(raw):
    """Equal for a mail that is delivered again, whatever Received lines it gathered: Message-Id, From and content.

    Not the Message-Id alone: who knows or guesses one could keep another's mail out, and a lost mail is worse than two."""
    end = raw.find(b'\r\n\r\n')
    end = len(raw) if end < 0 else end
    mail = email.message_from_bytes(raw[:min(end, HEADER_LIMIT)], policy=policy.compat32)
    digest = hashlib.sha256()
    own = message_id(mail)
    if own:
        for piece in (own, header(mail, 'From')):
            digest.update(piece.encode('utf-8', 'replace') + b'\0')
        digest.update(memoryview(raw)[end:])                # not a copy: it may be 10 MiB
    else:
        digest.update(b'\0')
        digest.update(raw)
    return digest.hexdigest()


def split(address):
    """(local part, domain), or None when this is no address that we would write to."""
    local, at, domain = address.rpartition('@')
    if not at or len(address) > 254 or len(local) > 64 or not _LOCAL.match(local) or not _DOMAIN.match(domain):
        return None
    return local, domain


def sender_is_sane(address):
    """Of MAIL FROM: empty, or something that can be stored and shown."""
    return address == '' or (len(address) <= 254 and '@' in address and bool(_SENDER.match(address)))


def recipient(address, domain):
    """The address that mail for `address` is taken for, or None: other domains, and what is no address."""
    if address.lower() == 'postmaster':                     # RFC 5321 4.5.1: the one that needs no domain
        return f'postmaster@{domain}'
    parts = split(address)
    if parts is None or parts[1].lower() != domain.lower():
        return None
    return f'{parts[0]}@{domain}'


def canonical(address):
    """One spelling for one mailbox, to count its answers: lower case, without +detail and the tag of a signed sender (prvs=)."""
    local, _, domain = address.lower().rpartition('@')
    local = re.sub(r'^prvs=[^=]*=', '', local)
    return f'{local.partition("+")[0] or local}@{domain.rstrip(".")}'


def addressed(mail):
    """All addresses of To and Cc, canonical."""
    found = set()
    for name in ('To', 'Cc', 'Resent-To', 'Resent-Cc'):
        for value in values(mail, name):
            try:
                found.update(canonical(address) for _, address in email.utils.getaddresses([value]) if '@' in address)
            except (ValueError, IndexError, RecursionError):
                continue
    return found


def personal(mail, recipients):
    """That of `recipients` which To or Cc names, or None: a mail that came by Bcc or a list is not for us in person."""
    named = addressed(mail)
    return next((one for one in recipients if canonical(one) in named), None)


def _robot(address, domain):
    local, _, where = address.lower().rpartition('@')
    local = local.strip('"').partition('+')[0]
    return (where.rstrip('.') == domain.lower() or bool(_ROBOTS.match(local)) or local.startswith('owner-')
            or local.endswith(('-request', '-owner', '-bounces', '-bounce')) or local.startswith(('bounce-', 'bounces-')))


def why_no_answer(mail, sender, recipients, domain):
    """'' when this mail may be answered, else the reason. RFC 3834: in doubt no answer."""
    if not sender:
        return 'empty envelope sender'
    if split(sender) is None:
        return 'sender cannot be written to'
    if _robot(sender, domain):
        return 'sent by a program or by ourselves'
    for value in values(mail, 'Return-Path'):
        if value.strip().strip('<>').strip() == '' or _robot(value.strip().strip('<>'), domain):
            return 'Return-Path'
    for name in ('From', 'Sender', 'Reply-To'):
        for value in values(mail, name):
            try:
                addresses = [address for _, address in email.utils.getaddresses([value])]
            except (ValueError, IndexError, RecursionError):
                return f'{name} cannot be read'
            if any(_robot(address, domain) for address in addresses if '@' in address):
                return f'{name} is a program or ourselves'
    for value in values(mail, 'Auto-Submitted'):
        # parameters and comments may follow: "no; x=y", "no (by hand)"
        if re.split(r'[\s;(]', value.strip(), maxsplit=1)[0].lower() != 'no':
            return 'Auto-Submitted'
    for value in values(mail, 'Precedence'):
        if re.split(r'[\s;(]', value.strip(), maxsplit=1)[0].lower() in ('bulk', 'list', 'junk'):
            return 'Precedence'
    for name in mail.keys():
        if str(name).lower().startswith('list-'):
            return 'mailing list'
    for name in ('X-Auto-Response-Suppress', 'X-Autoreply', 'X-Autorespond', 'X-Loop', 'Mailing-List', 'Feedback-Id'):
        if any(value.lower() != 'none' for value in values(mail, name)):
            return name
    for value in values(mail, 'Content-Type'):
        if value.lower().lstrip().startswith(('multipart/report', 'message/delivery-status', 'message/disposition-notification')):
            return 'report'
    if personal(mail, recipients) is None:
        return 'not addressed to us in person'
    return ''
