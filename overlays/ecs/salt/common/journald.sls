# The journal survives a reboot and never fills the disk.
/etc/systemd/journald.conf.d/appliance.conf:
  file.managed:
    - makedirs: true
    - contents: |
        [Journal]
        Storage=persistent
        SystemMaxUse=512M
        SystemKeepFree=1G
        MaxFileSec=1week

systemd-journald:
  service.running:
    - watch:
      - file: /etc/systemd/journald.conf.d/appliance.conf
