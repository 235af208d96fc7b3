# The update: appliance-update.service and its timer. apt's own timers are off.
{%- set automatic = salt['pillar.get']('appliance:update:automatic', true) %}
include:
  - common.packages
  - appliance.layout
  - appliance.lifecycle

update-files:
  file.managed:
    - names:
      - /usr/local/share/appliance/appliance-update.sh:
        - source: salt://appliance/update/appliance-update.sh
        - mode: '0755'
      # behind what the packages bring: the last word is this one's
      - /etc/apt/apt.conf.d/90appliance-update:
        - source: salt://appliance/update/apt.conf
      - /etc/systemd/system/appliance-update.service:
        - source: salt://appliance/systemd/appliance-update.service
      - /etc/systemd/system/appliance-update.timer:
        - source: salt://appliance/systemd/appliance-update.timer
        - template: jinja
    - require:
      - file: appliance-folders

# not in a build, which has no environment: the service's condition
appliance-update.timer:
{%- if automatic is none or automatic %}
  service.running:
    - enable: true
    - watch:
      - file: /etc/systemd/system/appliance-update.timer
{%- else %}
  service.dead:
    - enable: false
{%- endif %}
    - require:
      - file: update-files
{%- for timer in ['apt-daily', 'apt-daily-upgrade'] %}

{{ timer }}.timer:
  service.dead:
    - enable: false
    - require:
      - pkg: packages
{%- endfor %}
