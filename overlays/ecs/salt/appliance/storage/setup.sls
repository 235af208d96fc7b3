# The disks as appliance.storage.setup of the environment says, and /data and /volatile where appliance.storage.ignore wants
# them. prepare-appliance applies it by name; a highstate does not.
include:
  - appliance.storage

appliance-storage-setup:
  cmd.run:
    - name: /usr/local/share/appliance/storage.sh apply
    - unless: /usr/local/share/appliance/storage.sh settled
    - require:
      - service: appliance-storage
