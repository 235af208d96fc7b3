# The application's containers: their group, the images that the appliance brings, the key that PDFs are signed with, those of the
# storage vault. What runs them is in appliance.lifecycle.
include:
  - common.packages
  - appliance.layout
  - appliance.lifecycle

ecs-files:
  file.managed:
    - names:
      - /usr/local/share/appliance/docker-compose.yml:
        - source: salt://appliance/ecs/docker-compose.yml
      - /usr/local/share/appliance/images-load.sh:
        - source: salt://appliance/scripts/images-load.sh
        - mode: '0755'
      - /usr/local/share/appliance/prepare.d/pdfas-key:
        - source: salt://appliance/scripts/pdfas-key.sh
        - mode: '0755'
      - /usr/local/share/appliance/prepare.d/vault-keys:
        - source: salt://appliance/scripts/vault-keys.sh
        - mode: '0755'
      - /etc/systemd/system/appliance-images.service:
        - source: salt://appliance/systemd/appliance-images.service
    - require:
      - file: appliance-folders
      - file: lifecycle-folders
