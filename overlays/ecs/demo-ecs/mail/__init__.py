"""Mail of the application: takes it by SMTP, answers it by the rules of RFC 3834, and sends what the application originates.

receive.py, run by `manage.py smtpd`: the receiver on port 8025, behind stunnel. It takes mail for DOMAIN only, relays nothing, and
says 250 only when the mail is a row in PostgreSQL; a mail that is delivered again is taken once. Without a database it says 451,
and the sender keeps the mail.
rules.py: pure functions; whether a received mail may be answered at all, and how headers are read and written safely.
send.py: writes mail as rows first, then hands it to postfix. An answer is `Auto-Submitted: auto-replied` with an empty envelope
sender, at most one a sender in 24 hours, so two such applications can never keep each other busy, and MAIL_ANSWERS an hour to all.
Other mail is `auto-generated`; what answers a mail carries In-Reply-To and References.
room.py: how much mail is kept, and for how long.
part.py: what the status page says of incoming and outgoing mail, and the latest messages for verified users.
"""
