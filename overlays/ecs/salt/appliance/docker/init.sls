# Docker engine and docker compose. Its default bridge is the only docker network: host side 172.17.0.1/16, made by
# docker0.service, as PostgreSQL and postfix listen there before dockerd runs.
#
# userland-proxy is off: proxies die with dockerd and take published ports away while it restarts. What leads to a container
# is in the kernel then, and stays (live-restore); docker-hold.sh bridges the moment when dockerd makes it anew. icc is off: a
# container reaches another one by a link alone, and what the other one exposes; docker-links.sh keeps links as containers and
# dockerd come and go.
include:
  - common.packages
  - appliance.layout

# before the packages, so that the first start is the right one already
docker-config:
  file.managed:
    - names:
      - /etc/docker/daemon.json:
        - source: salt://appliance/docker/daemon.json
      - /etc/containerd/config.toml:
        - source: salt://appliance/docker/containerd.toml
        - template: jinja
      - /etc/systemd/system/docker.service.d/appliance.conf:
        - contents: |
            [Unit]
            RequiresMountsFor=/volatile

            [Service]
            ExecStartPre=-/usr/local/share/appliance/docker-hold.sh on
            ExecStartPost=-/usr/local/share/appliance/docker-links.sh
            ExecStartPost=-/usr/local/share/appliance/docker-hold.sh off
            ExecStopPost=-/usr/local/share/appliance/docker-hold.sh off
      - /etc/systemd/system/containerd.service.d/appliance.conf:
        - contents: |
            [Unit]
            RequiresMountsFor=/volatile
    - makedirs: true
    - require_in:
      - pkg: packages

docker0:
  file.managed:
    - names:
      - /usr/local/share/appliance/docker-hold.sh:
        - source: salt://appliance/scripts/docker-hold.sh
        - mode: '0755'
      - /usr/local/share/appliance/docker-links.sh:
        - source: salt://appliance/scripts/docker-links.sh
        - mode: '0755'
      - /usr/local/share/appliance/docker0.sh:
        - source: salt://appliance/scripts/docker0.sh
        - mode: '0755'
      - /etc/systemd/system/docker0.service:
        - source: salt://appliance/systemd/docker0.service
      - /etc/systemd/system/docker-links.service:
        - source: salt://appliance/systemd/docker-links.service
      # networkd takes addresses away from links that it thinks are its own
      - /etc/systemd/network/10-docker0.network:
        - contents: |
            [Match]
            Name=docker0

            [Link]
            Unmanaged=yes
    - require:
      - file: appliance-folders
  service.running:
    - enable: true
    - require:
      - pkg: packages
      - file: docker0

containerd:
  service.running:
    - enable: true
    - require:
      - pkg: packages
      - file: appliance-folders
    - watch:
      - file: /etc/containerd/config.toml

docker:
  service.running:
    - enable: true
    - require:
      - service: docker0
      - service: containerd
    - watch:
      - file: /etc/docker/daemon.json

# the program may be a new one
docker-links:
  service.running:
    - enable: true
    - require:
      - service: docker
    - watch:
      - file: docker0

docker-containers:
  file.managed:
    - name: /etc/systemd/system/docker-containers.service
    - source: salt://appliance/systemd/docker-containers.service
  service.running:
    - enable: true
    - require:
      - file: docker-containers
      - service: docker

# for those who look where docker's data usually is
{%- for old, new in [('/var/lib/docker', '/volatile/docker'), ('/var/lib/containerd', '/volatile/docker/containerd')] %}
{%- if salt['file.directory_exists'](old) and not salt['file.is_link'](old) %}

# left by a docker that did not know its place yet; it may go, as all below /volatile may
{{ old }} was a folder:
  file.absent:
    - name: {{ old }}
    - require:
      - service: docker
    - require_in:
      - file: {{ old }}
{%- endif %}

{{ old }}:
  file.symlink:
    - target: {{ new }}
    - require:
      - service: docker
{%- endfor %}

/usr/local/share/appliance/docker-compose.sh:
  file.managed:
    - source: salt://appliance/scripts/docker-compose.sh
    - mode: '0755'
    - require:
      - file: appliance-folders

# the lock is laid down when the program it names is in place
/usr/local/share/appliance/compose.lock:
  file.managed:
    - source: salt://appliance/docker/compose.lock
    - check_cmd: /usr/local/share/appliance/docker-compose.sh
    - require:
      - file: /usr/local/share/appliance/docker-compose.sh
      - pkg: packages

/usr/local/bin/docker-compose:
  file.symlink:
    - target: /usr/local/lib/docker/cli-plugins/docker-compose
    - require:
      - file: /usr/local/share/appliance/compose.lock
