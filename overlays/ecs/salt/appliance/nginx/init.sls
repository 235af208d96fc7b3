# nginx, the web frontend: 80 and 443, client certificates, the 503 status page while no backend answers.
include:
  - common.packages
  - appliance.layout
  - appliance.certificate

{%- set starting = {'state': 'starting', 'refresh': 20, 'notices': '', 'title': 'The appliance is starting',
  'text': 'The service will be available in a few minutes.',
  'foot': 'This page asks again every 20 seconds; nothing has to be done to get on.'} %}
{%- set refused = {'state': 'failed', 'refresh': 3600, 'notices': '<!-- notices -->', 'title': 'Your certificate was refused',
  'text': 'It has been revoked, has expired, or is not of this site.',
  'foot': 'To choose another one, close the browser and open this page again.'} %}
{%- set needed = {'state': 'standby', 'refresh': 3600, 'notices': '', 'title': 'A client certificate is needed',
  'text': 'This site can be read only with a certificate that it has issued.',
  'foot': 'Import yours into the browser, close it and open this page again.'} %}
{#- the same page with its places left open, for appliance-status #}
{%- set template = {'state': '@STATE@', 'refresh': '@REFRESH@', 'notices': '@NOTICES@', 'title': '@TITLE@', 'text': '@TEXT@',
  'foot': '@FOOT@'} %}

appliance-status-files:
  file.managed:
    - names:
{%- for name, values in {'503': starting, 'refused': refused, 'needed': needed, '503.template': template}.items() %}
      - /usr/local/share/appliance/{{ name }}.html:
        - source: salt://appliance/nginx/page.html
        - template: jinja
        - context: {{ values | json }}
{%- endfor %}
      - /usr/local/sbin/appliance-status:
        - source: salt://appliance/scripts/appliance-status.sh
        - mode: '0755'
    - require:
      - file: appliance-folders

nginx-config:
  file.managed:
    - names:
      - /etc/nginx/conf.d/appliance.conf:
        - source: salt://appliance/nginx/http.conf
      - /etc/nginx/sites-available/appliance:
        - source: salt://appliance/nginx/site.conf
        - template: jinja
      - /etc/nginx/appliance/proxy.conf:
        - source: salt://appliance/nginx/proxy.conf
      - /etc/nginx/appliance/gate.conf:
        - source: salt://appliance/nginx/gate.conf
      - /etc/nginx/appliance/page.conf:
        - source: salt://appliance/nginx/page.conf
      - /etc/systemd/system/nginx.service.d/appliance.conf:
        - source: salt://appliance/systemd/nginx.service.conf
      - /usr/local/share/appliance/nginx-inputs.sh:
        - source: salt://appliance/scripts/nginx-inputs.sh
        - mode: '0755'
    - makedirs: true
    - require:
      - pkg: packages

# Salt does not see that a drop-in is new, and would reload nginx the package's way, which lays down no inputs
nginx-units:
  module.run:
    - name: service.systemctl_reload
    - onchanges:
      - file: nginx-config

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
      - module: nginx-units
    - watch:
      - file: nginx-config
      - file: /etc/nginx/sites-enabled/appliance
      - file: /etc/nginx/sites-enabled/default

# what the application writes at runtime
appliance-client-ca:
  file.managed:
    - names:
{%- for unit in ['service', 'path', 'timer'] %}
      - /etc/systemd/system/appliance-client-ca.{{ unit }}:
        - source: salt://appliance/systemd/appliance-client-ca.{{ unit }}
{%- endfor %}
    - require:
      - file: nginx-config
  service.running:
    - names:
      - appliance-client-ca.path
      - appliance-client-ca.timer
    - enable: true
    - require:
      - file: appliance-client-ca
      - service: nginx
