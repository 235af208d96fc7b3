# Docker engine. Its default bridge is the only docker network: host side 172.17.0.1/16, which PostgreSQL and postfix rely on.
include:
  - common.packages

# before the packages, so that the first start is the right one already
docker-config:
  file.managed:
    - names:
      - /etc/docker/daemon.json:
        - source: salt://appliance/docker/daemon.json
      - /etc/containerd/config.toml:
        - source: salt://appliance/docker/containerd.toml
        - template: jinja
    - makedirs: true
    - require_in:
      - pkg: packages

containerd:
  service.running:
    - enable: true
    - require:
      - pkg: packages
    - watch:
      - file: /etc/containerd/config.toml

docker:
  service.running:
    - enable: true
    - require:
      - service: containerd
    - watch:
      - file: /etc/docker/daemon.json
