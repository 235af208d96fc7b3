# The folders and links that all parts share: tmpfiles.conf is their one table, for systemd-tmpfiles at each boot, for the build
# and for this state. A service's own folder (/var/lib/postgresql) is moved by the state of that service, which can stop it.
{%- import_text 'appliance/layout/tmpfiles.conf' as text %}
include:
  - common.users

appliance-folders:
  file.directory:
    - names:
{%- for line in text.splitlines() if line.startswith('d ') %}
{%- set path, mode, user, group = line.split()[1:5] %}
      - {{ path }}:
        - mode: '{{ mode }}'
        - user: {{ user }}
        - group: {{ group }}
{%- endfor %}
      - /usr/local/sbin:
        - mode: '0755'
        - user: root
        - group: root
    - require:
      - sls: common.users
{%- for line in text.splitlines() if line.startswith('L /app/') %}
{%- set path, target = line.split()[1], line.split()[6] %}

{{ path }}:
  file.symlink:
    - target: {{ target }}
    - require:
      - file: appliance-folders
{%- endfor %}

/etc/tmpfiles.d/appliance.conf:
  file.managed:
    - source: salt://appliance/layout/tmpfiles.conf
    - require:
      - file: appliance-folders
