# Mail. In: stunnel on the uplink addresses, to the receiver at 127.0.0.1:5025. Out: postfix, for this machine and its containers,
# signed by opendkim. They share nothing.
{%- from 'common/map.jinja' import map %}
{%- set key = salt['pillar.get']('appliance:dkim:key', '') %}
{%- set postfix = 'postfix@-.service' if map.mail.instance else 'postfix.service' %}
include:
  - common.users
  - common.packages
  - appliance.layout
  - appliance.firewall

# In
appliance-stunnel:
  file.managed:
    - names:
      - /usr/local/share/appliance/stunnel.conf:
        - source: salt://appliance/mail/stunnel.conf
      - /usr/local/share/appliance/stunnel-config.sh:
        - source: salt://appliance/scripts/stunnel-config.sh
        - mode: '0755'
      - /usr/local/share/appliance/stunnel-follow.sh:
        - source: salt://appliance/scripts/stunnel-follow.sh
        - mode: '0755'
      - /etc/systemd/system/appliance-stunnel.service:
        - source: salt://appliance/systemd/appliance-stunnel.service
      - /etc/systemd/system/appliance-stunnel-follow.service:
        - source: salt://appliance/systemd/appliance-stunnel-follow.service
    - require:
      - pkg: packages
      - file: appliance-folders

# the package's own, which has nothing to serve
stunnel-of-package:
  service.dead:
    - name: stunnel4
    - enable: false
    - require:
      - pkg: packages

# A restart stops stunnel, and it is started again: it has no state of its own to be told.
appliance-stunnel-follow:
  service.running:
    - enable: true
    - require:
      - service: stunnel-of-package
      - service: {{ postfix }}
    - watch:
      - file: appliance-stunnel

# Out: the queue
/data/postfix:
  file.directory:
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - pkg: packages
      - file: appliance-folders

{%- if not salt['file.is_link']('/var/spool/postfix') %}

# once, with all that is in it: mail too
postfix-queue-moves:
  cmd.run:
    - name: >-
        test ! -d /var/spool/postfix ||
        { systemctl stop {{ postfix }} && cp -a /var/spool/postfix/. /data/postfix/ && sync && rm -r /var/spool/postfix; }
    - require:
      - file: /data/postfix
    - require_in:
      - file: /var/spool/postfix
{%- endif %}

/var/spool/postfix:
  file.symlink:
    - target: /data/postfix
    - require:
      - file: /data/postfix

# Out: the signer
/data/etc/opendkim:
  file.directory:
    - user: opendkim
    - group: opendkim
    - mode: '0700'
    - require:
      - file: appliance-folders
      - sls: common.users

/data/etc/opendkim/default.key:
{%- if key %}
  file.managed:
    - contents_pillar: appliance:dkim:key
    - user: opendkim
    - group: opendkim
    - mode: '0600'
    - show_changes: false
    - require:
      - file: /data/etc/opendkim
{%- else %}
  file.absent
{%- endif %}

opendkim-config:
  file.managed:
    - names:
      - /etc/opendkim.conf:
        - source: salt://appliance/mail/opendkim.conf
        - template: jinja
      - /etc/systemd/system/opendkim.service.d/appliance.conf:
        - makedirs: true
        - contents: |
            # Managed by Salt: appliance.mail
            [Unit]
            RequiresMountsFor=/data/etc
            ConditionFileNotEmpty=/data/etc/opendkim/default.key
      # of releases whose service knows the socket from here
      - /etc/default/opendkim:
        - contents: |
            # Managed by Salt: appliance.mail
            RUNDIR=/run/opendkim
            SOCKET=inet:8891@127.0.0.1
            USER=opendkim
            GROUP=opendkim
            PIDFILE=/run/opendkim/opendkim.pid
            EXTRAAFTER=
    - require:
      - pkg: packages

dkim-signer:
{%- if key %}
  service.running:
    - name: opendkim
    - enable: true
    - watch:
      - file: opendkim-config
      - file: /data/etc/opendkim/default.key
{%- else %}
  # enabled all the same: its condition is the key
  service.dead:
    - name: opendkim
    - enable: true
    - require:
      - file: opendkim-config
      - file: /data/etc/opendkim/default.key
{%- endif %}

# Out: the sender
postfix-config:
  file.managed:
    - names:
      - /etc/postfix/main.cf:
        - source: salt://appliance/mail/main.cf
        - template: jinja
      - /etc/mailname:
        - contents: {{ salt['pillar.get']('appliance:domain', 'localhost') }}
      - /etc/systemd/system/{{ postfix }}.d/appliance.conf:
        - source: salt://appliance/mail/postfix.conf
        - template: jinja
        - makedirs: true
    - require:
      - pkg: packages

{{ postfix }}:
  service.running:
    - require:
      - file: /var/spool/postfix
      - service: dkim-signer
    - watch:
      - file: postfix-config
