# What every machine of this kind needs before it becomes an appliance.
include:
  - common.users
  - common.packages
  - common.locale
  - common.time
  - common.journald
  - common.resolver
