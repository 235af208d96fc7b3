base:
  '*':
    - hangs
