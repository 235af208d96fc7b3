base:
  '*':
    - common
    - appliance
