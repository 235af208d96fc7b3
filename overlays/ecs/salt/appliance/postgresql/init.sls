# PostgreSQL, the database. Loopback only; what reaches it over docker0 comes with the containers.
{%- from 'common/map.jinja' import map %}
{%- set config = '/etc/postgresql/' ~ map.postgresql.version ~ '/main' %}
include:
  - common.users
  - common.packages

# A cluster takes its encoding from the environment of whoever installs the package, and never changes it. C.UTF-8 sorts alike
# on every release, so that a new image reads the indexes on an old disk.
{{ map.postgresql.createcluster }}:
  file.managed:
    - makedirs: true
    - contents: |
        # Managed by Salt: appliance.postgresql
        initdb_options = '--encoding=UTF8 --locale=C.UTF-8'
    - require_in:
      - pkg: packages

{{ config }}/conf.d/appliance.conf:
  file.managed:
    - makedirs: true
    - user: postgres
    - group: postgres
    - contents: |
        # Managed by Salt: appliance.postgresql
        listen_addresses = '127.0.0.1'
        # no TLS on loopback, so no key that an image would have to carry
        ssl = off
        timezone = 'UTC'
        log_timezone = 'UTC'
    - require:
      - pkg: packages
{%- if not map.postgresql.includes_conf_d %}

{{ config }}/postgresql.conf:
  file.replace:
    - pattern: ^include_dir\s*=.*$
    - repl: include_dir = 'conf.d'
    - append_if_not_found: true
    - require:
      - file: {{ config }}/conf.d/appliance.conf
    - watch_in:
      - service: postgresql
{%- endif %}

postgresql:
  service.running:
    - enable: true
    - watch:
      - file: {{ config }}/conf.d/appliance.conf
