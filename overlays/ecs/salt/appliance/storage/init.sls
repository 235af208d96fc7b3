# Where /data and /volatile lie: in the root file system, or in file systems of their own that are found by their labels. What
# keeps files there is not started when a file system that has to be there is missing, and is stopped while another moves in.
include:
  - appliance.layout

appliance-storage:
  file.managed:
    - names:
      - /usr/local/share/appliance/storage.sh:
        - source: salt://appliance/scripts/storage.sh
        - mode: '0755'
      - /usr/local/share/appliance/storage-setup.py:
        - source: salt://appliance/scripts/storage-setup.py
        - mode: '0755'
      - /etc/systemd/system/appliance-storage.service:
        - source: salt://appliance/systemd/appliance-storage.service
{%- for unit in ['postgresql@', 'postfix', 'postfix@', 'containerd', 'docker'] %}
      - /etc/systemd/system/{{ unit }}.service.d/storage.conf:
        - makedirs: true
        - contents: |
            [Unit]
            # not Requires: that would look for a missing disk again at each start of each
            Requisite=appliance-storage.service
            PartOf=appliance-storage.service
            After=appliance-storage.service
{%- endfor %}
    - require:
      - file: appliance-folders
  service.running:
    - enable: true
    - require:
      - file: appliance-storage
