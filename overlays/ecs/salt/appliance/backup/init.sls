# Backup by duplicity, and the one command that restores it.
include:
  - common.packages
  - appliance.layout
  - appliance.lifecycle

backup-files:
  file.managed:
    - names:
      - /usr/local/share/appliance/backup.include:
        - source: salt://appliance/scripts/backup.include
      - /usr/local/share/appliance/appliance-backup.sh:
        - source: salt://appliance/scripts/appliance-backup.sh
        - mode: '0755'
      - /usr/local/sbin/appliance-restore.sh:
        - source: salt://appliance/scripts/appliance-restore.sh
        - mode: '0755'
      - /etc/systemd/system/appliance-backup.service:
        - source: salt://appliance/systemd/appliance-backup.service
      - /etc/systemd/system/appliance-backup.timer:
        - source: salt://appliance/systemd/appliance-backup.timer
    - require:
      - file: appliance-folders

appliance-backup.timer:
  service.running:
    - enable: true
    - watch:
      - file: /etc/systemd/system/appliance-backup.timer
    - require:
      - file: backup-files
