# The life cycle: prepare-env, prepare-appliance, prepare-ecs, appliance, appliance-cleanup, and appliance-failed@ when one of them
# fails. Enabled and never started or restarted from here: a highstate runs in the middle of all this.
include:
  - common.packages
  - appliance.layout

lifecycle-files:
  file.managed:
    - names:
      - /usr/local/share/appliance/appliance.include:
        - source: salt://appliance/scripts/appliance.include
{%- for name in ['prepare-env', 'prepare-appliance', 'prepare-ecs', 'appliance-containers', 'appliance-cleanup', 'appliance-failed', 'containers-stop'] %}
      - /usr/local/share/appliance/{{ name }}.sh:
        - source: salt://appliance/scripts/{{ name }}.sh
        - mode: '0755'
{%- endfor %}
      - /usr/local/sbin/appliance-start:
        - source: salt://appliance/scripts/appliance-start.sh
        - mode: '0755'
{%- for name in ['prepare-env', 'prepare-appliance', 'prepare-ecs', 'appliance', 'appliance-cleanup', 'appliance-failed@'] %}
      - /etc/systemd/system/{{ name }}.service:
        - source: salt://appliance/systemd/{{ name }}.service
{%- endfor %}
      - /etc/systemd/system/docker.service.d/containers-stop.conf:
        - makedirs: true
        - contents: |
            [Service]
            ExecStartPost=/usr/local/share/appliance/containers-stop.sh
    - require:
      - file: appliance-folders

# programs of the parts that prepare-appliance runs, in the order of their names; their hooks are the operator's
lifecycle-folders:
  file.directory:
    - names:
      - /usr/local/share/appliance/prepare.d
      - /var/lib/appliance
{%- for hook in ['prepare-appliance.early', 'prepare-appliance.late', 'prepare-ecs.early', 'prepare-ecs.late'] %}
      - /data/etc/hooks/{{ hook }}
{%- endfor %}
    - mode: '0755'
    - makedirs: true
    - require:
      - file: /app/etc

appliance:
  service.enabled:
    - require:
      - file: lifecycle-files
