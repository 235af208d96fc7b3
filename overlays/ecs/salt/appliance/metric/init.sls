# Metrics, off unless `appliance.metric.exporter`: the node exporter on loopback, and what appliance-metric tells of the appliance.
{%- from 'common/map.jinja' import map %}
{%- set exporter = salt['pillar.get']('appliance:metric:exporter', false) %}
include:
  - common.packages
  - appliance.layout
  - appliance.lifecycle

# before the package, whose own arguments listen for everybody
/etc/default/prometheus-node-exporter:
  file.managed:
    - contents: |
        # Managed by Salt: appliance.metric
        ARGS="{{ map.metric.dash }}web.listen-address=127.0.0.1:9100 {{ map.metric.dash }}collector.textfile.directory=/run/appliance-metric"
    - require_in:
      - pkg: packages

metric-files:
  file.managed:
    - names:
      - /usr/local/share/appliance/appliance-metric.sh:
        - source: salt://appliance/scripts/appliance-metric.sh
        - mode: '0755'
      - /etc/systemd/system/appliance-metric.service:
        - source: salt://appliance/systemd/appliance-metric.service
      - /etc/systemd/system/appliance-metric.timer:
        - source: salt://appliance/systemd/appliance-metric.timer
    - require:
      - file: appliance-folders
{%- for unit in ['prometheus-node-exporter.service', 'appliance-metric.timer'] %}

{{ unit }}:
{%- if exporter %}
  service.running:
    - enable: true
    - watch:
      - file: {{ '/etc/default/prometheus-node-exporter' if loop.first else '/etc/systemd/system/appliance-metric.timer' }}
{%- else %}
  service.dead:
    - enable: false
{%- endif %}
    - require:
      - pkg: packages
      - file: metric-files
{%- endfor %}
