# nginx, the web frontend: 80 and 443, a certificate of the machine's own, the 503 status page while no backend answers.
include:
  - common.packages
  - appliance.layout

appliance-status-files:
  file.managed:
    - names:
      - /usr/local/share/appliance/503.html:
        - source: salt://appliance/nginx/503.html
        - template: jinja
        - context:
            title: The appliance is starting
            text: The service will be available in a few minutes.
      # the same page with its two places left open, for appliance-status
      - /usr/local/share/appliance/503.template.html:
        - source: salt://appliance/nginx/503.html
        - template: jinja
        - context:
            title: '@TITLE@'
            text: '@TEXT@'
      - /usr/local/sbin/appliance-status:
        - source: salt://appliance/scripts/appliance-status.sh
        - mode: '0755'
    - require:
      - file: appliance-folders

# app answers the challenges, nginx only reads them
/var/lib/appliance/acme-challenge:
  file.directory:
    - user: app
    - group: app
    - mode: '0755'
    - makedirs: true
    - require:
      - sls: common.users

appliance-certificate:
  file.managed:
    - names:
      - /usr/local/share/appliance/certificate-selfsigned.sh:
        - source: salt://appliance/scripts/certificate-selfsigned.sh
        - mode: '0755'
      - /etc/systemd/system/appliance-certificate.service:
        - source: salt://appliance/systemd/appliance-certificate.service
      - /etc/systemd/system/nginx.service.d/appliance.conf:
        - makedirs: true
        - contents: |
            [Unit]
            Requires=appliance-certificate.service
            After=appliance-certificate.service
    - require:
      - file: /app/etc
  service.running:
    - require:
      - file: appliance-certificate
      - pkg: packages

nginx-config:
  file.managed:
    - names:
      - /etc/nginx/conf.d/appliance.conf:
        - source: salt://appliance/nginx/http.conf
      - /etc/nginx/sites-available/appliance:
        - source: salt://appliance/nginx/site.conf
        - template: jinja
    - require:
      - pkg: packages

/etc/nginx/sites-enabled/appliance:
  file.symlink:
    - target: /etc/nginx/sites-available/appliance
    - require:
      - file: nginx-config

/etc/nginx/sites-enabled/default:
  file.absent:
    - require:
      - pkg: packages

nginx:
  service.running:
    - enable: true
    - reload: true
    - require:
      - service: appliance-certificate
      - file: appliance-status-files
      - file: /var/lib/appliance/acme-challenge
    - watch:
      - file: nginx-config
      - file: /etc/nginx/sites-enabled/appliance
      - file: /etc/nginx/sites-enabled/default
