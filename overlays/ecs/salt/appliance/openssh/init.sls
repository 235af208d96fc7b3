# openssh: keys only, host keys made on the machine.
{%- from 'common/map.jinja' import map %}
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

ssh:
  service.running:
    - enable: true
    - reload: true
    - require:
      - file: appliance-hostkeys
    - watch:
      - file: {{ config }}
