base:
  '*':
    - fails
