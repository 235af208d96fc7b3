# Time zone and time synchronisation. `timezone` is cloud-init's own key of the environment.
{%- set timezone = salt['pillar.get']('timezone', 'Etc/UTC') %}
include:
  - common.packages

/etc/localtime:
  file.symlink:
    - target: /usr/share/zoneinfo/{{ timezone }}
    - force: true
    - require:
      - pkg: packages

/etc/timezone:
  file.managed:
    - contents: {{ timezone }}

systemd-timesyncd:
  service.running:
    - enable: true
    - require:
      - pkg: packages
