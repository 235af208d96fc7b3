# The folders that all parts share. /app is root's although it is app's home: who owns a folder can rename what is in it, and
# root runs what lies in /app/appliance and /app/etc/hooks.
include:
  - common.users

appliance-folders:
  file.directory:
    - names:
      - /app
      - /data
      - /data/etc
      - /data/etc/tags
      - /data/etc/flags
      - /data/etc/hooks
      - /volatile
      - /usr/local/share/appliance
      - /usr/local/sbin
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - sls: common.users

/app/etc:
  file.symlink:
    - target: /data/etc
    - require:
      - file: appliance-folders
