# The firewall: five public ports, containers that reach nothing but what they need, and no other way in. It is up before the
# network; docker does not start without it, so that without it nothing is forwarded.
include:
  - common.packages
  - appliance.layout

appliance-firewall:
  file.managed:
    - names:
      - /etc/nftables.conf:
        - source: salt://appliance/firewall/nftables.conf
        - template: jinja
      - /usr/local/share/appliance/firewall.sh:
        - source: salt://appliance/scripts/firewall.sh
        - mode: '0755'
      - /etc/systemd/system/appliance-firewall.service:
        - source: salt://appliance/systemd/appliance-firewall.service
      # asks for the table and not for the unit: a restart of the one must not be a restart of the other
      - /etc/systemd/system/docker.service.d/firewall.conf:
        - makedirs: true
        - contents: |
            # Managed by Salt: appliance.firewall
            [Unit]
            After=appliance-firewall.service
            [Service]
            ExecStartPre=/bin/sh -c 'nft list table inet ecs >/dev/null'
    - require:
      - pkg: packages
      - file: appliance-folders
  service.running:
    - enable: true
    - reload: true
    - watch:
      - file: appliance-firewall
