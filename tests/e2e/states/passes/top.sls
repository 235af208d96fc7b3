base:
  '*':
    - passes
