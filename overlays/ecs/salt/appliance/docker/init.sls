# Docker engine. Its default bridge is the only docker network: host side 172.17.0.1/16, which PostgreSQL and postfix rely on.
include:
  - common.packages

# before the package, so that the daemon's first start is the right one already
/etc/docker/daemon.json:
  file.managed:
    - source: salt://appliance/docker/daemon.json
    - makedirs: true
    - require_in:
      - pkg: packages

docker:
  service.running:
    - enable: true
    - require:
      - pkg: packages
    - watch:
      - file: /etc/docker/daemon.json
