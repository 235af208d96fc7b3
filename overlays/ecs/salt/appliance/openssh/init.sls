# openssh: keys only, host keys made on the machine, keys of users from the environment.
{%- from 'common/map.jinja' import map %}
{%- from 'appliance/openssh/keys.jinja' import whole_key %}
{%- set disable_root = salt['pillar.get']('disable_root', false) %}
{%- set deprecated = salt['pillar.get']('ssh_deprecated_keys', []) or [] %}
{%- set config = '/etc/ssh/sshd_config.d/10-appliance.conf' if map.openssh.drop_in else '/etc/ssh/sshd_config' %}
include:
  - common.packages
  - appliance.layout

appliance-hostkeys:
  file.managed:
    - names:
      - /usr/local/share/appliance/ssh-hostkeys.sh:
        - source: salt://appliance/scripts/ssh-hostkeys.sh
        - mode: '0755'
      - /etc/systemd/system/appliance-hostkeys.service:
        - source: salt://appliance/systemd/appliance-hostkeys.service
      # cloud-init removes all host keys on an instance's first boot and makes those named here
      - /etc/cloud/cloud.cfg.d/90-appliance-ssh.cfg:
        - makedirs: true
        - contents: |
            ssh_genkeytypes: [ed25519, ecdsa]
    - require:
      - file: appliance-folders
  service.enabled:
    - require:
      - file: appliance-hostkeys

# Who comes in by the environment is in files of its own, written as a whole: a key that is not in the environment any more is out.
# What cloud-init or a person put into a home stays there. A key that is in both lists is out.
/etc/ssh/authorized_keys.d:
  file.directory:
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - pkg: packages
{%- for user in ['root', 'app'] %}

/etc/ssh/authorized_keys.d/{{ user }}:
  file.managed:
    - source: salt://appliance/openssh/authorized_keys
    - template: jinja
    - mode: '0644'
    - context:
        keys: {{ ([] if user == 'root' and disable_root else salt['pillar.get']('ssh_authorized_keys', []) or []) | tojson }}
        deprecated: {{ deprecated | tojson }}
    - require:
      - file: /etc/ssh/authorized_keys.d
    - require_in:
      - service: ssh
{%- endfor %}

# A deprecated key is refused whoever gave it to whom. Nothing is written in homes: their owners could lead root astray by a link.
# sshd refuses every key when a line is no key, so only what is one gets in.
/etc/ssh/revoked_keys:
  file.managed:
    - mode: '0644'
    - contents:
      - '# Managed by Salt: appliance.openssh. ssh_deprecated_keys of the environment.'
{%- for line in deprecated %}
{%- set key = whole_key(line) %}
{%- if key and salt['cmd.retcode']('ssh-keygen -l -f -', stdin=key, python_shell=False, ignore_retcode=True) == 0 %}
      - {{ key | tojson }}
{%- endif %}
{%- endfor %}
    - require:
      - pkg: packages

{{ config }}:
{%- if map.openssh.drop_in %}
  file.managed:
    - source: salt://appliance/openssh/sshd.conf
    - template: jinja
{%- else %}
  # in front of everything else: the first value wins, and a Match block would swallow what follows it
  file.blockreplace:
    - marker_start: '# appliance.openssh: start'
    - marker_end: '# appliance.openssh: end'
    - source: salt://appliance/openssh/sshd.conf
    - template: jinja
    - prepend_if_not_found: true
{%- endif %}
    - require:
      - pkg: packages
      - file: /etc/ssh/revoked_keys

ssh:
  service.running:
    - enable: true
    - reload: true
    - require:
      - file: appliance-hostkeys
    - watch:
      - file: {{ config }}
