# The ECS appliance. Each part is a folder of its own and may be applied alone: salt-call state.sls appliance.nginx
include:
  - appliance.layout
  - appliance.storage
  - appliance.firewall
  - appliance.openssh
  - appliance.certificate
  - appliance.nginx
  - appliance.postgresql
  - appliance.docker
  - appliance.mail
  - appliance.lifecycle
  - appliance.ecs
  - appliance.update
  - appliance.backup
  - appliance.metric
  - appliance.extra
