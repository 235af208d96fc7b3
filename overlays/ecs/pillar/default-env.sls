#cloud-config
# Fallback environment, and the example of a localhost ECS: what the states see while no /run/active-env.yml is there, as in
# the build. It carries no key, password or token of any kind: what a service needs is made on the machine at first boot.
locale: en_US.UTF-8
timezone: Etc/UTC
ssh_authorized_keys: []
ssh_deprecated_keys: []
disable_root: false

appliance:
  standby: false
  domain: localhost
  allowed_hosts: localhost
  ssl:
    letsencrypt:
      enabled: false
    client_certs_mandatory: false
  update:
    automatic: true
    oncalendar: '*-*-* 06:30:00'
  storage:
    ignore:
      data: true
      volatile: true
  metric:
    exporter: false

ecs:
  userswitcher:
    enabled: false
  settings: |
    DOMAIN = 'localhost'
    ABSOLUTE_URL_PREFIX = 'https://localhost'
    ALLOWED_HOSTS = ['localhost']
