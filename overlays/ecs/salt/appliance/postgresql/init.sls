# PostgreSQL, the database: on loopback and docker0, data in /data/postgresql. What concerns the data is done at each boot, as a
# data disk may be another one then: place, version and settings by prepare-postgres.sh, role and password by postgres-database.sh.
{%- from 'common/map.jinja' import map %}
{%- set config = '/etc/postgresql/' ~ map.postgresql.version ~ '/main' %}
{%- set server = 'postgresql@' ~ map.postgresql.version ~ '-main' %}
include:
  - common.users
  - common.packages
  - appliance.layout
  - appliance.docker

# A cluster takes its encoding from the environment of whoever installs the package, and never changes it. C.UTF-8 sorts alike
# on every release, so that a new image reads the indexes on an old disk.
{{ map.postgresql.createcluster }}:
  file.managed:
    - makedirs: true
    - contents: |
        # Managed by Salt: appliance.postgresql
        initdb_options = '--encoding=UTF8 --locale=C.UTF-8 --data-checksums'
    - require_in:
      - pkg: packages

postgresql-config:
  file.managed:
    - names:
      - {{ config }}/conf.d/appliance.conf:
        - source: salt://appliance/postgresql/appliance.conf
      - {{ config }}/pg_hba.conf:
        - source: salt://appliance/postgresql/pg_hba.conf
        - mode: '0640'
    - template: jinja
    - makedirs: true
    - user: postgres
    - group: postgres
    - require:
      - pkg: packages
{%- if not map.postgresql.includes_conf_d %}

{{ config }}/postgresql.conf:
  file.replace:
    - pattern: ^include_dir\s*=.*$
    - repl: include_dir = 'conf.d'
    - append_if_not_found: true
    - require:
      - file: postgresql-config
    - watch_in:
      - service: {{ server }}
{%- endif %}

postgresql-scripts:
  file.managed:
    - names:
{%- for script in ['prepare-postgres', 'postgres-tune', 'postgres-upgrade', 'postgres-database', 'postgres-keep'] %}
      - /usr/local/share/appliance/{{ script }}.sh:
        - source: salt://appliance/scripts/{{ script }}.sh
        - mode: '0755'
{%- endfor %}
      - /etc/systemd/system/appliance-postgres.service:
        - source: salt://appliance/systemd/appliance-postgres.service
      - /etc/systemd/system/appliance-database.service:
        - source: salt://appliance/systemd/appliance-database.service
      - /etc/systemd/system/postgresql@.service.d/appliance.conf:
        - contents: |
            [Unit]
            RequiresMountsFor=/data
            Requires=appliance-postgres.service docker0.service
            After=appliance-postgres.service docker0.service
      - /etc/systemd/system/appliance-database.service.d/server.conf:
        - contents: |
            [Unit]
            Requires={{ server }}.service
            After={{ server }}.service
    - makedirs: true
    - require:
      - file: appliance-folders

# stops the server once, to move the package's cluster
appliance-postgres:
  service.running:
    - require:
      - file: postgresql-scripts
      - pkg: packages

{{ server }}:
  service.running:
    - require:
      - service: appliance-postgres
      - service: docker0
    - watch:
      - file: postgresql-config

postgresql:
  service.enabled:
    - require:
      - pkg: packages

appliance-database:
  service.running:
    - enable: true
    - require:
      - service: {{ server }}
