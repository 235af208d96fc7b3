# The machine's certificate: self-signed from the first boot, of Let's Encrypt or the operator's own where the environment says so.
include:
  - common.packages
  - common.users
  - appliance.layout

appliance-certificate:
  file.managed:
    - names:
{%- for script in ['appliance-certificate-renew', 'certificate-order', 'certificate-selfsigned', 'certificate-store', 'certificate-users'] %}
      - /usr/local/share/appliance/{{ script }}.sh:
        - source: salt://appliance/scripts/{{ script }}.sh
        - mode: '0755'
{%- endfor %}
      - /usr/local/share/appliance/certificate.include:
        - source: salt://appliance/scripts/certificate.include
      - /usr/local/share/appliance/dehydrated.conf:
        - source: salt://appliance/certificate/dehydrated.conf
      - /etc/systemd/system/appliance-certificate.service:
        - source: salt://appliance/systemd/appliance-certificate.service
      - /etc/systemd/system/appliance-dehydrated.service:
        - source: salt://appliance/systemd/appliance-dehydrated.service
    - require:
      - file: /app/etc
      - file: appliance-folders
  service.running:
    - require:
      - file: appliance-certificate
      - pkg: packages
